//! The binding between a caller and a broker, both played by the test: see [`house`].

mod connecting;
mod counted;
mod fuzz;
mod house;
mod operators;
mod overdue;
mod publishing;
mod quarantine;
mod reconnecting;
mod subscribing;
mod trouble;
