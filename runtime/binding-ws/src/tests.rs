//! The binding between a caller and a server that the test plays, and the frames against tungstenite.

mod closing;
mod flow;
mod frames;
mod harness;
