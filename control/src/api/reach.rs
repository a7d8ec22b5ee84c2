//! What may be done, by who asks. Services say what the state of a thing allows; here the edge takes from that what the
//! person has no right to, and says which right is missing. Two people may be offered two different things.
//!
//! The words of each noun stand beside the rows of [`crate::api::table`]: what is offered here is what is let through there.

use quantix_contract::quantix::action::v1::AllowedAction;
use quantix_contract::quantix::certificate::v1::Certificates;
use quantix_contract::quantix::host::v1::{BlockDevice, Host};
use quantix_contract::quantix::image::v1::Image;
use quantix_contract::quantix::pool::v1::{File, Pool};
use quantix_contract::quantix::user::v1::User;
use quantix_contract::quantix::vm::v1::{DiscoveredVm, Vm};
use quantix_contract::quantix::volume::v1::Volume;
use quantix_contract::quantix::watch::v1::watch_response::Event;
use quantix_model::right::{Permission as P, Rights, Scope, missing};

/// What an action needs.
#[derive(Clone, Copy, Debug)]
pub enum Needs {
    /// This permission, on everything.
    Everywhere(P),
    /// This permission on the thing, or on what it is part of; the thing in words.
    Here(P, &'static str),
}

use Needs::{Everywhere, Here};

/// A view that says what may be done with the thing.
pub trait Offers {
    /// What an action of it needs.
    fn needs(verb: &str) -> Needs;
    /// What the thing is, or is part of; nothing where rights on everything are needed anyway.
    fn scopes(&self) -> Vec<Scope> {
        Vec::new()
    }
    /// The actions it offers.
    fn actions(&mut self) -> &mut Vec<AllowedAction>;
    /// What is told of along with it, and offers actions of its own.
    fn limit_parts(&mut self, _rights: &Rights) {}
}

/// Takes from a view what these rights do not allow.
pub fn limit<T: Offers>(rights: &Rights, mut view: T) -> T {
    limit_one(rights, &mut view);
    view
}

fn limit_one<T: Offers>(rights: &Rights, view: &mut T) {
    let scopes = view.scopes();
    withhold(rights, &scopes, view.actions(), T::needs);
    view.limit_parts(rights);
}

/// The same for the rows of a list.
pub fn limit_all<T: Offers>(rights: &Rights, views: Vec<T>) -> Vec<T> {
    views.into_iter().map(|view| limit(rights, view)).collect()
}

/// The same for files, which do not say which pool they are in.
pub fn limit_file(rights: &Rights, pool_id: &str, file: &mut File) {
    let scopes: Vec<Scope> = pool_id.parse().map(Scope::Pool).into_iter().collect();
    withhold(rights, &scopes, &mut file.allowed_actions, |verb| match verb {
        "download" => Here(P::FileRead, "this pool"),
        _ => Here(P::FileWrite, "this pool"),
    });
}

/// The same for what a watcher is told.
pub fn limit_event(rights: &Rights, event: &mut Event) {
    match event {
        Event::Host(view) => limit_one(rights, view.as_mut()),
        Event::Pool(view) => limit_one(rights, view.as_mut()),
        Event::Image(view) => limit_one(rights, view.as_mut()),
        Event::Volume(view) => limit_one(rights, view.as_mut()),
        Event::Vm(view) => limit_one(rights, view.as_mut()),
        _ => {}
    }
}

fn withhold(rights: &Rights, scopes: &[Scope], actions: &mut [AllowedAction], needs: impl Fn(&str) -> Needs) {
    for action in actions {
        let (permission, on, held) = match needs(&action.verb) {
            Everywhere(permission) => (permission, "everything", rights.everywhere().has(permission)),
            Here(permission, thing) => (permission, thing, rights.allows(permission, scopes)),
        };
        if !held {
            // Also where the state forbids it: nobody should clear the way to a door that stays shut.
            action.allowed = false;
            action.reason_if_not = missing(permission, on);
        }
    }
}

fn part_of(ids: impl IntoIterator<Item = Option<Scope>>) -> Vec<Scope> {
    ids.into_iter().flatten().collect()
}

impl Offers for Host {
    fn needs(_verb: &str) -> Needs {
        Everywhere(P::HostManage)
    }
    fn actions(&mut self) -> &mut Vec<AllowedAction> {
        &mut self.allowed_actions
    }
}

impl Offers for BlockDevice {
    fn needs(_verb: &str) -> Needs {
        Everywhere(P::HostManage)
    }
    fn actions(&mut self) -> &mut Vec<AllowedAction> {
        &mut self.allowed_actions
    }
}

impl Offers for DiscoveredVm {
    fn needs(_verb: &str) -> Needs {
        Everywhere(P::VmManage)
    }
    fn actions(&mut self) -> &mut Vec<AllowedAction> {
        &mut self.allowed_actions
    }
}

impl Offers for User {
    fn needs(_verb: &str) -> Needs {
        Everywhere(P::PeopleManage)
    }
    fn actions(&mut self) -> &mut Vec<AllowedAction> {
        &mut self.allowed_actions
    }
}

impl Offers for Certificates {
    fn needs(_verb: &str) -> Needs {
        Everywhere(P::CertificateManage)
    }
    fn actions(&mut self) -> &mut Vec<AllowedAction> {
        &mut self.allowed_actions
    }
}

impl Offers for Pool {
    fn needs(verb: &str) -> Needs {
        match verb {
            "upload_image" => Here(P::ImageManage, "this pool"),
            "create_volume" => Here(P::VolumeManage, "this pool"),
            "write_files" => Here(P::FileWrite, "this pool"),
            _ => Everywhere(P::PoolManage),
        }
    }
    fn scopes(&self) -> Vec<Scope> {
        part_of([self.id.parse().ok().map(Scope::Pool)])
    }
    fn actions(&mut self) -> &mut Vec<AllowedAction> {
        &mut self.allowed_actions
    }
}

impl Offers for Image {
    fn needs(_verb: &str) -> Needs {
        Here(P::ImageManage, "its pool")
    }
    fn scopes(&self) -> Vec<Scope> {
        part_of([self.pool_id.parse().ok().map(Scope::Pool)])
    }
    fn actions(&mut self) -> &mut Vec<AllowedAction> {
        &mut self.allowed_actions
    }
}

impl Offers for Volume {
    fn needs(_verb: &str) -> Needs {
        Here(P::VolumeManage, "its pool or its VM")
    }
    fn scopes(&self) -> Vec<Scope> {
        part_of([self.pool_id.parse().ok().map(Scope::Pool), self.vm_id.parse().ok().map(Scope::Vm)])
    }
    fn actions(&mut self) -> &mut Vec<AllowedAction> {
        &mut self.allowed_actions
    }
}

impl Offers for Vm {
    fn needs(verb: &str) -> Needs {
        match verb {
            "console" => Here(P::VmConsole, "this VM"),
            "delete" => Here(P::VmManage, "this VM"),
            "attach_volume" => Here(P::VolumeManage, "this VM"),
            _ => Here(P::VmPower, "this VM"),
        }
    }
    fn scopes(&self) -> Vec<Scope> {
        part_of([self.id.parse().ok().map(Scope::Vm), self.host_id.parse().ok().map(Scope::Host)])
    }
    fn actions(&mut self) -> &mut Vec<AllowedAction> {
        &mut self.allowed_actions
    }
    fn limit_parts(&mut self, rights: &Rights) {
        self.volumes.iter_mut().for_each(|volume| limit_one(rights, volume));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use quantix_model::right::built_in;

    const ID: &str = "01900000-0000-7000-8000-000000000001";
    const OTHER: &str = "01900000-0000-7000-8000-000000000002";

    fn offered(verbs: &[&str]) -> Vec<AllowedAction> {
        let line = |verb: &&str| AllowedAction { verb: (*verb).into(), allowed: true, ..Default::default() };
        verbs.iter().map(line).collect()
    }

    fn on(scope: Scope, role: &str) -> Rights {
        Rights::of([(scope, built_in(role).unwrap())])
    }

    fn vm(id: &str, host_id: &str) -> Vm {
        let allowed_actions = offered(&["start", "console", "delete"]);
        Vm { id: id.into(), host_id: host_id.into(), allowed_actions, ..Default::default() }
    }

    fn open(actions: &[AllowedAction]) -> String {
        actions.iter().filter(|a| a.allowed).map(|a| a.verb.as_str()).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn who_may_all_is_offered_all_and_who_may_look_nothing() {
        let all = limit(&on(Scope::Everything, "operator"), vm(ID, OTHER));
        assert_eq!(open(&all.allowed_actions), "start console delete");
        let none = limit(&on(Scope::Everything, "viewer"), vm(ID, OTHER));
        assert_eq!(open(&none.allowed_actions), "");
        let reason = &none.allowed_actions[0].reason_if_not;
        assert_eq!(reason, "You need vm.power on this VM. Who manages people can give it.");
    }

    #[test]
    fn a_grant_reaches_what_is_part_of_its_object() {
        for (scope, reached) in [
            (Scope::Vm(ID.parse().unwrap()), true),
            (Scope::Host(OTHER.parse().unwrap()), true),
            (Scope::Vm(OTHER.parse().unwrap()), false),
            (Scope::Pool(ID.parse().unwrap()), false),
        ] {
            let view = limit(&on(scope, "operator"), vm(ID, OTHER));
            assert_eq!(open(&view.allowed_actions) == "start console delete", reached, "{scope:?}");
        }
        let viewer = on(Scope::Everything, "viewer");
        let disk = Volume { allowed_actions: offered(&["grow"]), ..Default::default() };
        let with_disk = Vm { volumes: vec![disk], ..vm(ID, OTHER) };
        assert_eq!(open(&limit(&viewer, with_disk).volumes[0].allowed_actions), "", "also in what it holds");
        let volume = Volume {
            pool_id: ID.into(),
            vm_id: OTHER.into(),
            allowed_actions: offered(&["grow"]),
            ..Default::default()
        };
        for scope in [Scope::Pool(ID.parse().unwrap()), Scope::Vm(OTHER.parse().unwrap())] {
            assert_eq!(open(&limit(&on(scope, "operator"), volume.clone()).allowed_actions), "grow");
        }
    }

    #[test]
    fn a_pool_is_changed_by_who_may_change_all_and_filled_by_who_has_it() {
        let pool = Pool {
            id: ID.into(),
            allowed_actions: offered(&["update", "delete", "upload_image", "create_volume"]),
            ..Default::default()
        };
        let here = on(Scope::Pool(ID.parse().unwrap()), "operator");
        let mut file = File { allowed_actions: offered(&["download", "delete"]), ..Default::default() };
        let limited = limit(&here, pool);
        assert_eq!(open(&limited.allowed_actions), "upload_image create_volume");
        let reason = &limited.allowed_actions[0].reason_if_not;
        assert_eq!(reason, "You need pool.manage on everything. Who manages people can give it.");
        limit_file(&here, ID, &mut file);
        assert_eq!(open(&file.allowed_actions), "download delete");
        limit_file(&here, OTHER, &mut file);
        assert_eq!(open(&file.allowed_actions), "");
    }
}
