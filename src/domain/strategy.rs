//! What to do with an incoming record.

words! {
    /// What to do with an incoming record whose key exists here. A record whose key is new is created by each of them.
    #[derive(Default)]
    pub enum Strategy("strategy") {
        /// The local row stays as it is.
        #[default]
        Skip = "skip",
        /// The columns that the record has replace the local ones.
        Overwrite = "overwrite",
        /// The columns that the record has, and that are not null there, replace the local ones.
        Merge = "merge",
        /// The record becomes a new row with a new key; rows pulled with it that refer to it follow.
        Append = "append",
    }
}
