//! What a worker does on each event.
