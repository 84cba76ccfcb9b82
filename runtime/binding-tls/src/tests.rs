//! The binding between a caller and a broker that the test plays with rustls.

mod broker;
mod certificates;
mod closing;
mod flow;
mod handshake;
mod harness;
