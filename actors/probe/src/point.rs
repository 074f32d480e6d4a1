//! Places where the product may behave in a way that is legal but rare.

use crate::names::named;

named! {
    /// One such place.
    Point {
        /// The proposer makes an entry of fewer commands than wait.
        EntryOfOne,
        /// The proposer waits before it proposes.
        ProposerWaits,
        /// The ledger is written out after a few entries, and the log cut.
        SnapshotEarly,
        /// A round of the verifier ends before its time.
        VerifierRests,
        /// A read ticket that is good is minted again.
        TicketForgotten,
        /// A client leaves an orchestrator that does well, for another.
        LinkLeaves,
        /// A read of a file brings little.
        ReadsLittle,
        /// A pack of trees is closed although it has room.
        PackEarly,
        /// A rebuild hands over one piece of the ledger at a time.
        PieceByPiece,
        /// A rebuild ends in the middle of handing over, as if its machine had.
        RebuildBreaksOff,
    }
}
