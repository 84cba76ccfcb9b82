// The events of a session, from which a stream is resumed.

const MAX = 1_000;

export class Events {
  #last = 0;
  #events = new Map();

  async storeEvent(stream, message) {
    const id = String(++this.#last);
    this.#events.set(id, { stream, message });
    this.#events.delete(String(this.#last - MAX));
    return id;
  }

  async getStreamIdForEventId(id) {
    return this.#events.get(id)?.stream;
  }

  async replayEventsAfter(after, { send }) {
    const { stream } = this.#events.get(after) ?? {};
    for (const [id, event] of this.#events) {
      // The event that begins a stream has no message.
      const isMessage = "jsonrpc" in (event.message ?? {});
      if (event.stream === stream && Number(id) > Number(after) && isMessage) await send(id, event.message);
    }
    return stream;
  }
}
