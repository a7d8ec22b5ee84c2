// Making, changing and deleting a role.
import { Link } from "@tanstack/react-router";
import { useState } from "react";
import { methodKey } from "../../api/cache";
import { useApi, useClient } from "../../api/context";
import { RoleService, type Permission, type Role } from "../../api/gen/quantix/role/v1/role_pb";
import { SessionService } from "../../api/gen/quantix/session/v1/session_pb";
import { useSession } from "../../api/session";
import { Confirm, Dialog } from "../../ui/dialog";
import { TextField } from "../../ui/field";
import { formatCount } from "../../ui/quantity";
import { useRun } from "../../ui/run";
import { PermissionFields } from "./permission-fields";

export const NAME_HELP = "1 to 63 of a-z, 0-9 and -";
const DESCRIPTION_CHARS_MAX = 200;

/** One change; after it roles, grants and one's own permissions are read again, since each may be another one. */
export function useChange(onClose: () => void) {
  const { queries } = useApi();
  return useRun(() => {
    for (const method of [RoleService.method.listRoles, RoleService.method.listGrants, SessionService.method.getSession]) {
      void queries.invalidateQueries({ queryKey: methodKey(method) });
    }
    onClose();
  });
}

/** Without `role`: a new one. */
export function RoleDialog({ role, permissions, onClose }: { role?: Role; permissions: readonly Permission[]; onClose: () => void }) {
  const client = useClient(RoleService);
  const own = useSession().data?.permissions ?? [];
  const [name, setName] = useState(role?.name ?? "");
  const [description, setDescription] = useState(role?.description ?? "");
  const [chosen, setChosen] = useState<ReadonlySet<string>>(() => new Set(role?.permissions));
  const { busy, fault, run } = useChange(onClose);
  const save = () => {
    const wish = { name: name.trim(), description: description.trim(), permissions: permissions.map((p) => p.word).filter((word) => chosen.has(word)) };
    run(() => (role ? client.updateRole({ id: role.id, ...wish }) : client.createRole(wish)));
  };
  const note = role
    ? role.grantCount > 0
      ? `The change counts at once for everybody who has the role: ${formatCount(role.grantCount, "grant")}.`
      : "Nobody has the role yet."
    : "A role is a set of permissions. It allows nothing until it is given to somebody.";
  return (
    <Dialog
      title={role ? `Change role "${role.name}"` : "Create role"}
      note={note}
      submit={role ? "Save changes" : "Create role"}
      busy={busy}
      disabled={name.trim() === "" || chosen.size === 0}
      fault={fault}
      onSubmit={save}
      onClose={onClose}
    >
      <TextField label="Name" help={NAME_HELP} value={name} onChange={(_, v) => setName(v)} autoFocus autoComplete="off" spellCheck={false} />
      <TextField label="What it is for" optional maxLength={DESCRIPTION_CHARS_MAX} value={description} onChange={(_, v) => setDescription(v)} autoComplete="off" />
      <PermissionFields
        permissions={permissions}
        chosen={chosen}
        onChange={setChosen}
        refused={(word) => (own.includes(word) ? "" : "You do not have it yourself on everything.")}
      />
    </Dialog>
  );
}

export function DeleteRole({ role, onClose }: { role: Role; onClose: () => void }) {
  const client = useClient(RoleService);
  const { busy, fault, run } = useChange(onClose);
  return (
    <Confirm title={`Delete role "${role.name}"?`} verb="Delete role" busy={busy} fault={fault} onConfirm={() => run(() => client.deleteRole({ id: role.id }))} onClose={onClose}>
      {role.grantCount > 0 ? (
        <p>
          {formatCount(role.grantCount, "grant")} of it {role.grantCount === 1 ? "exists" : "exist"}. A role that somebody has is not deleted:{" "}
          <Link to="/roles" search={{ tab: "grants", q: role.name }} onClick={onClose}>
            take it away from them
          </Link>{" "}
          first.
        </p>
      ) : (
        <p>Nobody has it, so that nobody may do less afterwards. It cannot be brought back; it can be made anew.</p>
      )}
    </Confirm>
  );
}
