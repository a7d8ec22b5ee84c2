// What an administrator does with one person.
import { useQuery } from "@connectrpc/connect-query";
import { useState } from "react";
import { useClient } from "../../api/context";
import { faultOf } from "../../api/fault";
import { UserService, type User } from "../../api/gen/quantix/user/v1/user_pb";
import { useRight } from "../../api/session";
import { Confirm, Dialog } from "../../ui/dialog";
import { FaultPanel } from "../../ui/fault";
import { TextField } from "../../ui/field";
import { ActionButton, Copyable } from "../../ui/parts";
import { useRun } from "../../ui/run";
import { SessionTable } from "./session-table";

export type Verb = "rename" | "disable" | "enable" | "reset_password" | "clear_factors" | "delete" | "sessions";

interface Props {
  user: User;
  onDone: () => void;
  onClose: () => void;
}

const NAME_HELP = "Letters, digits and . _ - @ +";

/** A password that is shown this once. */
function Handover({ name, password, onClose }: { name: string; password: string; onClose: () => void }) {
  return (
    <Dialog title={`One-time password of "${name}"`} size="small" onClose={onClose} closeLabel="Done">
      <p>It is shown this once. Hand it over by a safe way; at the first sign-in another one must be chosen.</p>
      <Copyable text={password} label="one-time password" />
    </Dialog>
  );
}

export function CreateUserDialog({ onDone, onClose }: { onDone: () => void; onClose: () => void }) {
  const client = useClient(UserService);
  const [name, setName] = useState("");
  const [password, setPassword] = useState<string>();
  const { busy, fault, run } = useRun(onDone);
  if (password) return <Handover name={name} password={password} onClose={onClose} />;
  const create = () => run(async () => setPassword((await client.createUser({ name })).oneTimePassword));
  return (
    <Dialog title="Create user" size="small" submit="Create user" busy={busy} disabled={name === ""} fault={fault} onSubmit={create} onClose={onClose}>
      <TextField label="Name" help={NAME_HELP} autoFocus autoComplete="off" value={name} onChange={(_, v) => setName(v)} />
    </Dialog>
  );
}

function Rename({ user, onDone, onClose }: Props) {
  const client = useClient(UserService);
  const [name, setName] = useState(user.name);
  const { busy, fault, run } = useRun(() => (onDone(), onClose()));
  const save = () => run(() => client.renameUser({ id: user.id, name }));
  return (
    <Dialog title={`Rename "${user.name}"`} size="small" submit="Rename user" busy={busy} disabled={name === "" || name === user.name} fault={fault} onSubmit={save} onClose={onClose}>
      <TextField label="Name" help={NAME_HELP} autoFocus autoComplete="off" value={name} onChange={(_, v) => setName(v)} />
    </Dialog>
  );
}

function ResetPassword({ user, onDone, onClose }: Props) {
  const client = useClient(UserService);
  const [password, setPassword] = useState<string>();
  const { busy, fault, run } = useRun(onDone);
  if (password) return <Handover name={user.name} password={password} onClose={onClose} />;
  const reset = () => run(async () => setPassword((await client.resetUserPassword({ id: user.id })).oneTimePassword));
  return (
    <Confirm title={`Reset the password of "${user.name}"?`} verb="Reset password" busy={busy} fault={fault} onConfirm={reset} onClose={onClose}>
      <p>The password stops working and all sessions end. You get a one-time password to hand over.</p>
    </Confirm>
  );
}

interface Question {
  title: string;
  verb: string;
  text: string;
  typed?: boolean;
  danger?: boolean;
}

function questionOf(verb: Verb, name: string): Question {
  switch (verb) {
    case "disable":
      return { title: `Turn off "${name}"?`, verb: "Turn off", text: "All sessions end at once, and nobody signs in under this name until it is turned on again." };
    case "enable":
      return { title: `Turn on "${name}"?`, verb: "Turn on", text: "Password and second factors are those from before.", danger: false };
    case "clear_factors":
      return { title: `Remove the second factors of "${name}"?`, verb: "Remove second factors", text: "For somebody who lost them: the password alone is enough then, until a new one is set up." };
    default:
      return { title: `Delete user "${name}"?`, verb: "Delete user", text: "All sessions end. What was done under this name stays in events and tasks.", typed: true };
  }
}

function Ask({ user, verb, onDone, onClose }: Props & { verb: Verb }) {
  const client = useClient(UserService);
  const { busy, fault, run } = useRun(() => (onDone(), onClose()));
  const id = user.id;
  const work = (): Promise<unknown> => {
    if (verb === "delete") return client.deleteUser({ id });
    if (verb === "clear_factors") return client.clearUserFactors({ id });
    return client.setUserDisabled({ id, disabled: verb === "disable" });
  };
  const question = questionOf(verb, user.name);
  return (
    <Confirm title={question.title} verb={question.verb} danger={question.danger} typedName={question.typed ? user.name : undefined} busy={busy} fault={fault} onConfirm={() => run(work)} onClose={onClose}>
      <p>{question.text}</p>
    </Confirm>
  );
}

function Sessions({ user, onDone, onClose }: Props) {
  const client = useClient(UserService);
  const query = useQuery(UserService.method.listUserSessions, { userId: user.id });
  const manage = useRight()("people.manage");
  const { busy, fault, run } = useRun(() => {
    onDone();
    void query.refetch();
  });
  const end = (sessionId: string) => run(() => client.revokeUserSessions({ userId: user.id, sessionId }));
  const rows = query.data?.sessions;
  return (
    <Dialog title={`Sessions of "${user.name}"`} size="large" fault={fault} onClose={onClose} closeLabel="Close">
      {query.error ? <FaultPanel fault={faultOf(query.error)} onRetry={() => void query.refetch()} /> : <SessionTable sessions={rows} busy={busy} end={manage} onRevoke={(s) => end(s.id)} />}
      {(rows?.length ?? 0) > 0 && (
        <div className="q-actions">
          <ActionButton variant="danger" busy={busy} action={manage} onClick={() => end("")}>
            End all sessions
          </ActionButton>
        </div>
      )}
    </Dialog>
  );
}

export function UserDialog({ verb, ...props }: Props & { verb: Verb }) {
  if (verb === "rename") return <Rename {...props} />;
  if (verb === "reset_password") return <ResetPassword {...props} />;
  if (verb === "sessions") return <Sessions {...props} />;
  return <Ask verb={verb} {...props} />;
}
