//! The payload: a Reddit of simulated users.
