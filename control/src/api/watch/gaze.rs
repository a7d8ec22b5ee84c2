//! What a watcher has on its screen. Of that it is told everything; of all else only that something is different now.

use crate::bus::Thing;
use quantix_contract::quantix::watch::v1 as wire;
use quantix_model::Fault;
use std::collections::BTreeSet;

/// Things one watcher may look at.
const THINGS_MAX: usize = 2000;

/// What a watcher looks at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Gaze {
    /// Everything there is.
    Everything,
    /// These.
    At(BTreeSet<Thing>),
}

impl Gaze {
    /// Whether the watcher looks at it.
    pub fn sees(&self, thing: Thing) -> bool {
        match self {
            Gaze::Everything => true,
            Gaze::At(things) => things.contains(&thing),
        }
    }

    /// What is looked at now and was not before.
    pub fn beyond<'a>(&'a self, before: &'a Gaze) -> impl Iterator<Item = Thing> + 'a {
        let things = match self {
            Gaze::Everything => None,
            Gaze::At(things) => Some(things),
        };
        things.into_iter().flatten().copied().filter(|thing| !before.sees(*thing))
    }
}

impl TryFrom<Option<&wire::Gaze>> for Gaze {
    type Error = Fault;
    fn try_from(gaze: Option<&wire::Gaze>) -> Result<Gaze, Fault> {
        let Some(gaze) = gaze else { return Ok(Gaze::Everything) };
        let mut things = BTreeSet::new();
        for sight in &gaze.sights {
            for id in &sight.ids {
                let thing = Thing::parse(&sight.kind, id).ok_or_else(|| {
                    let text = format!("{:?} {id:?} is nothing one could look at.", sight.kind);
                    Fault::invalid("gaze", text, "Name a kind and ids as lists have them.")
                })?;
                things.insert(thing);
                if things.len() > THINGS_MAX {
                    let text = format!("A client may look at {THINGS_MAX} things at once.");
                    return Err(Fault::invalid("gaze", text, "Ask for shorter pages."));
                }
            }
        }
        Ok(Gaze::At(things))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use quantix_model::id::{HostId, VmId};
    use uuid::Uuid;

    fn gaze(kind: &str, ids: Vec<String>) -> Result<Gaze, Fault> {
        let sight = wire::Sight { kind: kind.into(), ids, ..Default::default() };
        Gaze::try_from(Some(&wire::Gaze { sights: vec![sight], ..Default::default() }))
    }

    #[test]
    fn a_gaze_sees_what_it_names_and_nothing_else() {
        let (one, two) = (Uuid::from_u128(1), Uuid::from_u128(2));
        let at = gaze("vm", vec![one.to_string()]).expect("a VM");
        assert!(at.sees(Thing::Vm(VmId(one))));
        assert!(!at.sees(Thing::Vm(VmId(two))) && !at.sees(Thing::Host(HostId(one))));
        let more = gaze("vm", vec![one.to_string(), two.to_string()]).expect("VMs");
        assert_eq!(more.beyond(&at).collect::<Vec<_>>(), [Thing::Vm(VmId(two))]);
        assert_eq!(more.beyond(&Gaze::Everything).count(), 0);
        assert!(Gaze::try_from(None).expect("all").sees(Thing::Vm(VmId(two))));
    }

    #[test]
    fn nonsense_and_too_much_are_refused() {
        assert_eq!(gaze("vm", vec!["x".into()]).expect_err("no id").field, "gaze");
        assert!(gaze("planet", vec![Uuid::nil().to_string()]).is_err());
        let many = (0..=THINGS_MAX as u128).map(|n| Uuid::from_u128(n).to_string()).collect();
        assert!(gaze("vm", many).expect_err("too much").message.contains("2000"));
    }
}
