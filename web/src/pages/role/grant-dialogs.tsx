// Giving a role, and taking it away: with what follows for the person.
import { useState } from "react";
import { useClient } from "../../api/context";
import { RoleService, type GrantView, type Role } from "../../api/gen/quantix/role/v1/role_pb";
import { useSession } from "../../api/session";
import { Confirm, Dialog } from "../../ui/dialog";
import { SelectField } from "../../ui/field";
import { Loading } from "../../ui/parts";
import type { Choice } from "../../ui/search-select";
import { PersonSelect } from "./people";
import { PermissionList } from "./permission-fields";
import { useChange } from "./role-dialogs";
import { EVERYTHING, ScopeField, scopeOf, scopeText } from "./scope-field";
import { useRoles, useTexts } from "./words";

export function GiveRole({ onClose }: { onClose: () => void }) {
  const client = useClient(RoleService);
  const roles = useRoles().data?.roles ?? [];
  const textOf = useTexts();
  const [person, setPerson] = useState<Choice>();
  const [roleId, setRoleId] = useState("");
  const [scope, setScope] = useState(EVERYTHING);
  const { busy, fault, run } = useChange(onClose);
  const role = roles.find((r) => r.id === roleId);
  const sent = scopeOf(scope);
  return (
    <Dialog
      title="Give a role"
      submit="Give role"
      busy={busy}
      disabled={!person || !role || !sent}
      fault={fault}
      onSubmit={() => run(() => client.grant({ userId: person?.id, role: roleId, scope: sent }))}
      onClose={onClose}
    >
      <PersonSelect label="Person" value={person} onChange={setPerson} autoFocus />
      <SelectField
        label="Role"
        help={role && (role.description || undefined)}
        value={roleId}
        onChange={setRoleId}
        options={[{ value: "", label: "Choose a role", disabled: true }, ...roles.map((r) => ({ value: r.id, label: r.name }))]}
      />
      <ScopeField value={scope} onChange={setScope} />
      {role && (
        <div>
          <PermissionList words={role.permissions} textOf={textOf} of={`role ${role.name}`} />
        </div>
      )}
    </Dialog>
  );
}

const isSame = (a: GrantView, b: GrantView) => a.scope?.kind === b.scope?.kind && a.scope?.id === b.scope?.id;

/** What of a grant no other grant of the person allows, on everything or on the same object. */
export function lostWith(grant: GrantView, grants: readonly GrantView[], roles: readonly Role[]): string[] {
  const permissionsOf = (g: GrantView) => roles.find((r) => r.id === g.role)?.permissions ?? [];
  const others = grants.filter((g) => g.userId === grant.userId && !(g.role === grant.role && isSame(g, grant)));
  const kept = new Set(others.filter((g) => g.scope?.kind === "everything" || isSame(g, grant)).flatMap(permissionsOf));
  return permissionsOf(grant).filter((word) => !kept.has(word));
}

export function TakeAway({ grant, grants, onClose }: { grant: GrantView; grants: readonly GrantView[]; onClose: () => void }) {
  const client = useClient(RoleService);
  const own = useSession().data?.userId === grant.userId;
  const roles = useRoles().data?.roles;
  const textOf = useTexts();
  const { busy, fault, run } = useChange(onClose);
  const lost = lostWith(grant, grants, roles ?? []);
  const on = scopeText(grant.scope);
  const scope = { kind: grant.scope?.kind ?? "", id: grant.scope?.id ?? "" };
  const isPart = grant.scope?.kind !== "everything";
  return (
    <Confirm
      title={`Take role "${grant.roleName}" away from ${grant.userName}?`}
      verb="Take role away"
      busy={busy}
      fault={fault}
      onConfirm={() => run(() => client.revoke({ userId: grant.userId, role: grant.role, scope }))}
      onClose={onClose}
    >
      {own && <p>This is a role of your own: what it allowed is refused to you from then on.</p>}
      {roles ? <Lost who={grant.userName} on={on} texts={lost.map(textOf)} /> : <Loading label="what it allows" lines={2} />}
      {isPart && <p className="q-muted">What roles on other objects allow stays, also where these reach it, as a host reaches its VMs.</p>}
    </Confirm>
  );
}

function Lost({ who, on, texts }: { who: string; on: string; texts: string[] }) {
  if (texts.length === 0) {
    return (
      <p>
        Other roles allow {who} the same on {on}: nothing changes for them.
      </p>
    );
  }
  return (
    <>
      <p>
        It counts at once, also for their API tokens. On {on}, {who} may no longer
      </p>
      <ul className="q-words" aria-label="No longer allowed">
        {texts.map((text) => (
          <li key={text}>{text}</li>
        ))}
      </ul>
    </>
  );
}
