//! orion-drain
