//! Orion's API by its names, with traffic: on sockets where listeners are concerned, on pipes under
//! paused time otherwise.

mod adopts;
mod behavior;
mod connected;
mod connections;
mod listeners;
mod settings;
mod signaling;
mod stand_in;
mod support;
