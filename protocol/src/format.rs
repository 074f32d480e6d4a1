//! On-storage formats. `FORMAT.md` is the reference.
