//! Whether rows are known to be those of the sender.

string_enum! {
    /// How far the rows of a table are known to be the sender's. Each one says more than those before it.
    #[non_exhaustive]
    #[derive(Default)]
    pub enum Verified("word for what is verified") {
        /// Nothing was compared: the sender gave no sum of its rows, or the table was not pulled whole.
        #[default]
        None = "none",
        /// What arrived is what the sender sent: both have the same number of rows and the same sum over them.
        Received = "received",
    }
}
