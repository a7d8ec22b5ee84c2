//! Who may do what, where: permissions, the sets of them that are called roles, and how far a grant of one reaches.
//!
//! ```text
//!   grant = (person, role, scope)          rights of a person = all grants together
//!   call needs a permission ─▶ held on everything? ─ yes ─▶ allowed
//!                                      └─ no ─▶ held on the object, or on what it is part of? ─ no ─▶ refused
//! ```
//! Nothing is allowed that no grant allows.

use crate::fault::{Fault, FaultCode};
use crate::id::{HostId, PoolId, VmId};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

macro_rules! permissions {
    ($($name:ident = $word:literal, $text:literal;)*) => {
        /// One thing a person may be allowed to do. Words are stable.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub enum Permission {$(
            #[doc = $text]
            #[serde(rename = $word)]
            $name,
        )*}

        impl Permission {
            /// Every permission there is.
            pub const ALL: &'static [Permission] = &[$(Permission::$name,)*];

            /// The word, e.g. `vm.power`.
            pub fn as_str(self) -> &'static str {
                match self { $(Permission::$name => $word,)* }
            }

            /// What it allows, for people: completes "may".
            pub fn text(self) -> &'static str {
                match self { $(Permission::$name => $text,)* }
            }
        }
    };
}

permissions! {
    SystemView = "system.view", "see the dashboard, alerts and all events and tasks";
    AlertAcknowledge = "alert.acknowledge", "acknowledge alerts";
    TaskCancel = "task.cancel", "cancel tasks of other people";
    HostView = "host.view", "see hosts, their disks and their logs";
    HostManage = "host.manage", "add, change and remove hosts, initialise disks";
    PoolView = "pool.view", "see pools";
    PoolManage = "pool.manage", "create, change, assign and delete pools";
    FileRead = "file.read", "list and download files of pools";
    FileWrite = "file.write", "upload, move and delete files of pools";
    ImageView = "image.view", "see images";
    ImageManage = "image.manage", "upload and delete images";
    VolumeView = "volume.view", "see volumes and snapshots";
    VolumeManage = "volume.manage", "create, grow, clone, attach, snapshot and delete volumes";
    VmView = "vm.view", "see VMs";
    VmPower = "vm.power", "start, stop and pause VMs";
    VmConsole = "vm.console", "open consoles of VMs";
    VmManage = "vm.manage", "create, change, adopt and delete VMs";
    PeopleView = "people.view", "see people, their roles and their sessions";
    PeopleManage = "people.manage", "make and change people, roles and grants, end sessions";
    AuditView = "audit.view", "read, check and export the audit log";
    CertificateView = "certificate.view", "see certificates";
    CertificateManage = "certificate.manage", "upload certificates and rotate the authority";
    SettingManage = "setting.manage", "change settings of the vDC";
}

impl fmt::Display for Permission {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl std::str::FromStr for Permission {
    type Err = Fault;
    fn from_str(word: &str) -> Result<Permission, Fault> {
        Permission::ALL.iter().copied().find(|p| p.as_str() == word).ok_or_else(|| {
            let words: Vec<&str> = Permission::ALL.iter().map(|p| p.as_str()).collect();
            let message = format!("{word:?} is no permission.");
            Fault::invalid("permissions", message, format!("Choose from: {}.", words.join(", ")))
        })
    }
}

/// A set of permissions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Permissions(u64);

impl Permissions {
    /// All there are.
    pub fn all() -> Permissions {
        Permission::ALL.iter().copied().collect()
    }

    /// Whether one of them is this.
    pub fn has(self, permission: Permission) -> bool {
        self.0 & (1 << permission as u64) != 0
    }

    /// Whether none is there.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// What is in either.
    pub fn and(self, other: Permissions) -> Permissions {
        Permissions(self.0 | other.0)
    }

    /// What is in both.
    pub fn within(self, other: Permissions) -> Permissions {
        Permissions(self.0 & other.0)
    }

    /// Each of them, in their order.
    pub fn iter(self) -> impl Iterator<Item = Permission> {
        Permission::ALL.iter().copied().filter(move |p| self.has(*p))
    }
}

impl FromIterator<Permission> for Permissions {
    fn from_iter<I: IntoIterator<Item = Permission>>(permissions: I) -> Permissions {
        Permissions(permissions.into_iter().fold(0, |set, p| set | 1 << p as u64))
    }
}

/// Roles that are always there, by the word a grant names them with.
pub const BUILT_IN: &[(&str, &str)] = &[
    (ADMIN, "Everything"),
    ("operator", "Everything but people, certificates, settings and the audit log"),
    ("viewer", "See everything but people and the audit log"),
];
/// Word of the role that may do everything.
pub const ADMIN: &str = "admin";

/// The permissions of a role that is always there.
pub fn built_in(role: &str) -> Option<Permissions> {
    use Permission as P;
    let withheld = [P::PeopleView, P::PeopleManage, P::AuditView, P::CertificateManage, P::SettingManage];
    let all = Permission::ALL.iter().copied();
    match role {
        ADMIN => Some(Permissions::all()),
        "operator" => Some(all.filter(|p| !withheld.contains(p)).collect()),
        "viewer" => {
            let sees = |p: &P| p.as_str().ends_with(".view") || *p == P::FileRead;
            Some(all.filter(|p| sees(p) && !withheld.contains(p)).collect())
        }
        _ => None,
    }
}

/// How far a grant reaches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Scope {
    /// All there is and will be.
    Everything,
    /// A host and the VMs that are on it.
    Host(HostId),
    /// A pool and what stands on it.
    Pool(PoolId),
    /// A VM and its volumes.
    Vm(VmId),
}

impl Scope {
    /// `everything`, `host`, `pool` or `vm`.
    pub fn kind(self) -> &'static str {
        match self {
            Scope::Everything => "everything",
            Scope::Host(_) => "host",
            Scope::Pool(_) => "pool",
            Scope::Vm(_) => "vm",
        }
    }

    /// Id of the object; empty for everything.
    pub fn id_text(self) -> String {
        match self {
            Scope::Everything => String::new(),
            Scope::Host(id) => id.to_string(),
            Scope::Pool(id) => id.to_string(),
            Scope::Vm(id) => id.to_string(),
        }
    }

    /// From kind and id.
    pub fn parse(kind: &str, id: &str) -> Result<Scope, Fault> {
        match kind {
            "everything" if id.is_empty() => Ok(Scope::Everything),
            "host" => id.parse().map(Scope::Host),
            "pool" => id.parse().map(Scope::Pool),
            "vm" => id.parse().map(Scope::Vm),
            _ => {
                let message = format!("{kind:?} {id:?} is nothing a grant could be for.");
                Err(Fault::invalid(
                    "scope",
                    message,
                    "Name everything, or a host, a pool or a VM with its id.",
                ))
            }
        }
    }
}

/// What somebody may do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rights {
    everywhere: Permissions,
    on: BTreeMap<Scope, Permissions>,
}

/// On what a permission is held.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sight {
    /// On all there is.
    Everything,
    /// On these and what is part of them.
    Only(BTreeSet<Scope>),
}

impl Rights {
    /// All grants together.
    pub fn of(grants: impl IntoIterator<Item = (Scope, Permissions)>) -> Rights {
        let mut rights = Rights::default();
        for (scope, permissions) in grants {
            match scope {
                Scope::Everything => rights.everywhere = rights.everywhere.and(permissions),
                scope => {
                    let there = rights.on.entry(scope).or_default();
                    *there = there.and(permissions);
                }
            }
        }
        rights
    }

    /// The same, but only so far as a token reaches that was made with these permissions for this scope.
    pub fn limited(&self, permissions: Permissions, scope: Scope) -> Rights {
        let mut limited = Rights::default();
        match scope {
            Scope::Everything => {
                limited.everywhere = self.everywhere.within(permissions);
                limited.on = self.on.iter().map(|(s, p)| (*s, p.within(permissions))).collect();
            }
            scope => {
                let held = self.everywhere.and(self.on.get(&scope).copied().unwrap_or_default());
                limited.on.insert(scope, held.within(permissions));
            }
        }
        limited.on.retain(|_, permissions| !permissions.is_empty());
        limited
    }

    /// What is held on everything.
    pub fn everywhere(&self) -> Permissions {
        self.everywhere
    }

    /// Whether a permission is held on anything at all.
    pub fn somewhere(&self, permission: Permission) -> bool {
        self.everywhere.has(permission) || self.on.values().any(|held| held.has(permission))
    }

    /// Whether a permission is held on an object that is, or is part of, these.
    pub fn allows(&self, permission: Permission, part_of: &[Scope]) -> bool {
        let held = |scope| self.on.get(scope).is_some_and(|held| held.has(permission));
        self.everywhere.has(permission) || part_of.iter().any(held)
    }

    /// On what a permission is held.
    pub fn sight(&self, permission: Permission) -> Sight {
        if self.everywhere.has(permission) {
            return Sight::Everything;
        }
        Sight::Only(
            self.on.iter().filter(|(_, held)| held.has(permission)).map(|(scope, _)| *scope).collect(),
        )
    }

    /// Whether another may all of this, too.
    pub fn is_within(&self, other: &Rights) -> bool {
        let everywhere = other.covers(self.everywhere, Scope::Everything);
        everywhere && self.on.iter().all(|(scope, held)| other.covers(*held, *scope))
    }

    /// Whether all of these, held there, are ours to give.
    pub fn covers(&self, permissions: Permissions, scope: Scope) -> bool {
        permissions.iter().all(|permission| self.allows(permission, &[scope]))
    }
}

/// Why an action is not offered to somebody: the permission they lack, and on what.
pub fn missing(permission: Permission, on: &str) -> String {
    format!("You need {permission} on {on}. Who manages people can give it.")
}

/// The refusal of a call that needs a permission.
pub fn refused(permission: Permission) -> Fault {
    Fault::new(
        FaultCode::Forbidden,
        format!("You may not {} here.", permission.text()),
        "Ask an administrator for a role that allows it.",
    )
    .because(format!("it needs the permission {permission}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use uuid::Uuid;

    fn vm(n: u128) -> Scope {
        Scope::Vm(VmId(Uuid::from_u128(n)))
    }

    #[test]
    fn words_are_unique_read_back_and_fit() {
        assert!(Permission::ALL.len() <= 64);
        for (n, permission) in Permission::ALL.iter().enumerate() {
            assert_eq!(permission.as_str().parse::<Permission>().unwrap(), *permission);
            assert!(Permission::ALL[n + 1..].iter().all(|p| p.as_str() != permission.as_str()));
            assert_eq!(serde_json::to_string(permission).unwrap(), format!("{:?}", permission.as_str()));
        }
        assert!("vm.fly".parse::<Permission>().unwrap_err().remedy.contains("vm.power"));
    }

    #[test]
    fn roles_grow_from_viewer_to_admin() {
        let [viewer, operator, admin] = ["viewer", "operator", ADMIN].map(|role| built_in(role).unwrap());
        assert_eq!(viewer.within(operator), viewer);
        assert_eq!(operator.within(admin), operator);
        assert_eq!(admin, Permissions::all());
        assert!(!viewer.has(Permission::VmPower) && !viewer.has(Permission::AuditView));
        assert!(operator.has(Permission::VmManage) && !operator.has(Permission::PeopleManage));
        assert_eq!(built_in("root"), None);
        assert_eq!(BUILT_IN.iter().filter(|(role, _)| built_in(role).is_some()).count(), BUILT_IN.len());
    }

    #[test]
    fn nothing_is_allowed_that_no_grant_allows() {
        let none = Rights::default();
        for permission in Permission::ALL {
            assert!(!none.somewhere(*permission) && !none.allows(*permission, &[vm(1)]));
            assert_eq!(none.sight(*permission), Sight::Only(BTreeSet::new()));
        }
        let one = Rights::of([(vm(1), built_in("operator").unwrap())]);
        assert!(one.allows(Permission::VmPower, &[vm(1)]));
        assert!(!one.allows(Permission::VmPower, &[vm(2)]));
        assert!(!one.allows(Permission::VmPower, &[]));
        assert!(one.covers([Permission::VmPower].into_iter().collect(), vm(1)));
        assert!(!one.covers([Permission::VmPower].into_iter().collect(), Scope::Everything));
        let all = Rights::of([(Scope::Everything, Permissions::all())]);
        assert!(none.is_within(&one) && one.is_within(&one) && one.is_within(&all) && !all.is_within(&one));
    }

    #[test]
    fn scopes_read_back() {
        for scope in
            [Scope::Everything, vm(3), Scope::Host(HostId(Uuid::nil())), Scope::Pool(PoolId(Uuid::nil()))]
        {
            assert_eq!(Scope::parse(scope.kind(), &scope.id_text()).unwrap(), scope);
        }
        for (kind, id) in [("everything", "x"), ("planet", ""), ("vm", ""), ("", "")] {
            assert!(Scope::parse(kind, id).is_err(), "{kind} {id}");
        }
    }

    fn permissions() -> impl Strategy<Value = Permissions> {
        prop::collection::vec(prop::sample::select(Permission::ALL), 0..6)
            .prop_map(|all| all.into_iter().collect())
    }

    fn scope() -> impl Strategy<Value = Scope> {
        prop_oneof![Just(Scope::Everything), (1..4_u128).prop_map(vm)]
    }

    proptest! {
        /// A token never allows more than its owner may.
        #[test]
        fn a_token_is_never_more_than_its_owner(
            grants in prop::collection::vec((scope(), permissions()), 0..5),
            permissions in permissions(),
            scope in scope(),
            asked in prop::sample::select(Permission::ALL),
            on in 1..5_u128,
        ) {
            let owner = Rights::of(grants);
            let token = owner.limited(permissions, scope);
            if token.allows(asked, &[vm(on)]) {
                prop_assert!(owner.allows(asked, &[vm(on)]));
                prop_assert!(permissions.has(asked));
                prop_assert!(scope == Scope::Everything || scope == vm(on));
            }
            if token.everywhere().has(asked) {
                prop_assert!(owner.everywhere().has(asked) && scope == Scope::Everything);
            }
        }

        /// The order of grants says nothing, and more grants never allow less.
        #[test]
        fn grants_only_add(
            mut grants in prop::collection::vec((scope(), permissions()), 0..5),
            more in (scope(), permissions()),
            asked in prop::sample::select(Permission::ALL),
            on in 1..5_u128,
        ) {
            let before = Rights::of(grants.clone());
            grants.reverse();
            prop_assert_eq!(&Rights::of(grants.clone()), &before);
            grants.push(more);
            prop_assert!(!before.allows(asked, &[vm(on)]) || Rights::of(grants).allows(asked, &[vm(on)]));
        }
    }
}
