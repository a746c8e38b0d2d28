//! The page and the API over a recorded journal, asked over real connections.

mod api;
mod bundle;
mod hooks;
mod otlp;
mod pages;
mod rum;
mod security;
mod stream;
mod traces;
mod world;
