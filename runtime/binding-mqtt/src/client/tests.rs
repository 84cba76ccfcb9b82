//! The binding between a caller and a broker, both played by the test: see [`harness`].

mod authenticating;
mod connecting;
mod counted;
mod faults;
mod fuzz;
mod harness;
mod operators;
mod overdue;
mod promises;
mod promises_received;
mod publishing;
mod quarantine;
mod reconnecting;
mod subscribing;
mod trouble;
