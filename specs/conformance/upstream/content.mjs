// What the fixtures consist of.

/** A PNG of one red pixel, in base64. */
export const PNG =
  "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8DwHwAFBQIAX8jx0gAAAABJRU5ErkJggg==";
/** A WAV without a sample, in base64. */
const WAV = "UklGRiYAAABXQVZFZm10IBAAAAABAAEAQB8AAAB9AAACABAAZGF0YQIAAAA=";

export const text = (of) => ({ type: "text", text: of });
export const image = () => ({ type: "image", data: PNG, mimeType: "image/png" });
export const audio = () => ({ type: "audio", data: WAV, mimeType: "audio/wav" });
export const resource = (uri, mimeType, of) => ({ type: "resource", resource: { uri, mimeType, text: of } });

/** The result of a tool. */
export const result = (...content) => ({
  content: content.map((it) => (typeof it === "string" ? text(it) : it)),
});
