//! Profiles, good and bad.
