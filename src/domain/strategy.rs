//! What to do with an incoming record.

string_enum! {
    /// What to do with an incoming record whose key exists here. A record whose key is new is created by each of them.
    #[non_exhaustive]
    #[derive(Default)]
    pub enum Strategy("strategy") {
        /// The local row stays as it is.
        #[default]
        Skip = "skip",
        /// The columns that the record has replace the local ones.
        ///
        /// A row whose key has NULL in it, as SQLite allows in most tables, has no key: it is compared by its whole content, and
        /// never changed. Where it changes at the sender, it comes as a new row beside the old one.
        Overwrite = "overwrite",
        /// The columns that the record has, and that are not null there, replace the local ones. Of a row whose key has NULL in
        /// it the same is true as under overwrite: it is never changed, and comes as a new row when it changes at the sender.
        Merge = "merge",
        /// The record becomes a new row with a new key, or keeps a key that is neither a number nor a UUID where that is free; what
        /// refers to it follows, in this pull and in later ones. A record that a full unique set knows is skipped, and is that row.
        Append = "append",
    }
}

string_enum! {
    /// What becomes of a record that refers to a row which is neither here nor among the records.
    #[non_exhaustive]
    #[derive(Default)]
    pub enum Dangling("choice for dangling references") {
        /// The record fails, with [`ForeignKey`](crate::Reason::ForeignKey).
        #[default]
        Fail = "fail",
        /// The record becomes a row with the reference as it is, and is [counted](crate::Outcome::dangling): as at a sender whose
        /// application leaves foreign keys unchecked, which is SQLite's default.
        Keep = "keep",
    }
}

string_enum! {
    /// What becomes of a record with a value that a column here cannot hold as it is.
    #[non_exhaustive]
    #[derive(Default)]
    pub enum OnLossy("choice for values that do not fit") {
        /// The record fails, with [`ValueWouldChange`](crate::Reason::ValueWouldChange),
        /// [`ValueOutOfRange`](crate::Reason::ValueOutOfRange) or [`WrongType`](crate::Reason::WrongType).
        #[default]
        Fail = "fail",
        /// Something else is stored in its place: text without what is not UTF-8 and without NUL, each replaced by U+FFFD; a number as
        /// its digits in a column of texts, and text that is a number as that number in a column of numbers; otherwise NULL, where the
        /// column takes it. Where none of these fits, and in columns of the key, the record fails all the same.
        Replace = "replace",
    }
}

string_enum! {
    /// What an append does with a record whose key is taken here, where no new one can be made of its kind: text, for example.
    #[non_exhaustive]
    #[derive(Default)]
    pub enum OnTakenKey("choice for a taken key") {
        /// The record fails, with [`NoNewKey`](crate::Reason::NoNewKey).
        #[default]
        Fail = "fail",
        /// The record is the row that has the key: it is skipped, and what refers to it refers to that row. Right where such keys
        /// mean the same at both ends: codes of countries, names of units.
        Map = "map",
    }
}
