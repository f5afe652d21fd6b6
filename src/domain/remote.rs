//! What another site says of a connection, and what became of messages to it.

string_enum! {
    /// What became of a registration with the other site.
    #[non_exhaustive]
    pub enum RegisterOutcome("outcome of a registration") {
        /// The other site has the connection, and it works there.
        Registered = "registered",
        /// The other site has the connection; its people must approve it.
        Pending = "pending",
        /// It was refused, or the other site was not reached: the token is to be shared by hand.
        Failed = "failed",
        /// Nothing was sent, because only a sender registers.
        Skipped = "skipped",
    }
}

string_enum! {
    /// What the other site says of a connection.
    #[non_exhaustive]
    pub enum RemoteStatus("status on the other site") {
        /// It works there.
        Active = "active",
        /// It is there; where it stands there is not told.
        Exists = "exists",
        /// It waits for approval there.
        Pending = "pending",
        /// It was stopped there.
        Suspended = "suspended",
        /// It was ended there permanently.
        Revoked = "revoked",
        /// A date or limit has passed there.
        Expired = "expired",
        /// The other site does not have it (any more).
        NotFound = "not_found",
        /// The other site was not reached.
        Offline = "offline",
        /// The other site was reached, and its answer is of no use.
        Error = "error",
    }
}

string_enum! {
    /// What became of a message to the other site that was sent at once.
    #[non_exhaustive]
    pub enum NotifyOutcome("outcome of a message") {
        /// The other site did what it was told.
        Done = "done",
        /// The other site does not have the connection (any more).
        NotFound = "not_found",
        /// The other site was not reached.
        Offline = "offline",
    }
}

string_enum! {
    /// What became of a message that waited to be sent.
    #[non_exhaustive]
    pub enum DeliveryOutcome("outcome of a delivery") {
        /// The other site did what it was told.
        Sent = "sent",
        /// The other site said no permanently. The message is not sent again.
        Refused = "refused",
        /// It did not work out, and is tried again later.
        Waiting = "waiting",
        /// It did not work out for too long, or cannot: the message is not sent again.
        GivenUp = "given_up",
    }
}
