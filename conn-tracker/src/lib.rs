//! conn-tracker
