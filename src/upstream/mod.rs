//! Room to come.
mod http;
