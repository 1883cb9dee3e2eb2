//! Nodes that read and write files beneath one directory.

mod csv;
mod read;
mod root;
#[cfg(test)]
mod tests;
mod write;

pub(crate) use csv::CsvRead;
pub(crate) use read::FileRead;
pub(crate) use root::Root;
pub(crate) use write::FileWrite;
