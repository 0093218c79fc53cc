//! A door for fuzz targets: an ask with any headers and any body, read as a worker reads a delivery.

pub use crate::bus::read_any as delivery;
