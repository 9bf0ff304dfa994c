//! The decisions of recovery: pure functions from what was found to what it means.
//!
//! # A listed segment
//!
//! | file    | header       | listed as      | case |
//! |---------|--------------|----------------|------|
//! | missing | –            | any            | `Missing`: a listed file was synced with its name before the list named it |
//! | there   | of a newer version | any      | `Newer` |
//! | there   | other engine | any            | `OtherEngine` |
//! | there   | current      | any            | `InUse` |
//! | there   | not current  | used           | `HeaderLost`: it was there when the list was written |
//! | there   | not current  | spare, reserve | `Unused`, unless something in it vouches; see below |
//!
//! # The end of a segment's groups
//!
//! Reading stops at a boundary where the group that is due is not. `reached` says whether the records before it are all
//! that the next segment's header wants of this one (the last segment wants nothing). Something *vouches* for the
//! missing group if it says that its first record was durable: a seal, a later group or a later segment's header.
//!
//! | next segment | reached | vouched | there         | case |
//! |--------------|---------|---------|---------------|------|
//! | yes          | yes     | any     | any           | `Superseded`: what follows is dead |
//! | yes          | no      | any     | any           | `Damage`: the next header vouches |
//! | no           | –       | yes     | any           | `Damage` |
//! | no           | –       | no      | closing seal  | `Closed`: nothing was ever written behind it |
//! | no           | –       | no      | seal          | `End` |
//! | no           | –       | no      | anything else | `TornTail` |

/// The header of a listed segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HeaderFound {
    Current,
    NotCurrent,
    OtherEngine,
    Newer,
}

/// What a listed segment is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SegmentCase {
    Missing,
    Newer,
    OtherEngine,
    InUse,
    HeaderLost,
    Unused,
}

/// See the first table. `header` is `None` if the file is missing.
pub(crate) fn classify_segment(header: Option<HeaderFound>, listed_as_used: bool) -> SegmentCase {
    match (header, listed_as_used) {
        (None, _) => SegmentCase::Missing,
        (Some(HeaderFound::Newer), _) => SegmentCase::Newer,
        (Some(HeaderFound::OtherEngine), _) => SegmentCase::OtherEngine,
        (Some(HeaderFound::Current), _) => SegmentCase::InUse,
        (Some(HeaderFound::NotCurrent), true) => SegmentCase::HeaderLost,
        (Some(HeaderFound::NotCurrent), false) => SegmentCase::Unused,
    }
}

/// What stands where a group is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum There {
    Seal,
    ClosingSeal,
    Other,
}

/// The end of a segment's groups.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct EndFound {
    /// `Some` if there is a next segment: whether this one has all that its header wants.
    pub(crate) next_reached: Option<bool>,
    pub(crate) vouched: bool,
    pub(crate) there: There,
}

/// What the end of a segment's groups is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum EndCase {
    Superseded,
    Damage,
    Closed,
    End,
    TornTail,
}

/// See the second table.
pub(crate) fn classify_end(found: EndFound) -> EndCase {
    match found {
        EndFound { next_reached: Some(true), .. } => EndCase::Superseded,
        EndFound { next_reached: Some(false), .. } | EndFound { vouched: true, .. } => EndCase::Damage,
        EndFound { there: There::ClosingSeal, .. } => EndCase::Closed,
        EndFound { there: There::Seal, .. } => EndCase::End,
        EndFound { there: There::Other, .. } => EndCase::TornTail,
    }
}

#[cfg(test)]
#[cfg(not(loom))]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_segment_has_one_case() {
        use HeaderFound::{Current, Newer, NotCurrent, OtherEngine};
        let table = [
            (None, true, SegmentCase::Missing),
            (None, false, SegmentCase::Missing),
            (Some(Newer), true, SegmentCase::Newer),
            (Some(Newer), false, SegmentCase::Newer),
            (Some(OtherEngine), true, SegmentCase::OtherEngine),
            (Some(OtherEngine), false, SegmentCase::OtherEngine),
            (Some(Current), true, SegmentCase::InUse),
            (Some(Current), false, SegmentCase::InUse),
            (Some(NotCurrent), true, SegmentCase::HeaderLost),
            (Some(NotCurrent), false, SegmentCase::Unused),
        ];
        for (header, used, case) in table {
            assert_eq!(classify_segment(header, used), case, "{header:?} {used}");
        }
    }

    #[test]
    fn every_kind_of_end_has_one_case() {
        for there in [There::Seal, There::ClosingSeal, There::Other] {
            for vouched in [false, true] {
                for next_reached in [None, Some(false), Some(true)] {
                    // Written the other way round than the function: by case, not by precedence.
                    let damage = next_reached == Some(false) || (next_reached.is_none() && vouched);
                    let cases = [
                        (EndCase::Superseded, next_reached == Some(true)),
                        (EndCase::Damage, damage),
                        (EndCase::Closed, next_reached.is_none() && !vouched && there == There::ClosingSeal),
                        (EndCase::End, next_reached.is_none() && !vouched && there == There::Seal),
                        (EndCase::TornTail, next_reached.is_none() && !vouched && there == There::Other),
                    ];
                    let found = EndFound { next_reached, vouched, there };
                    let wanted: Vec<_> = cases.iter().filter(|(_, is)| *is).map(|(case, _)| *case).collect();
                    assert_eq!(wanted, [classify_end(found)], "{found:?}");
                }
            }
        }
    }
}
