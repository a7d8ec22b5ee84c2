// Turning a provider or directory off and on, and deleting it: what follows for its people.
import { useClient } from "../../api/context";
import { IdentityService, type IdentitySource } from "../../api/gen/quantix/identity/v1/identity_pb";
import { Confirm } from "../../ui/dialog";
import { useRun } from "../../ui/run";
import { switched } from "./source-form";

interface Props {
  source: IdentitySource;
  onDone: () => void;
  onClose: () => void;
}

/** "1 person comes", "12 people come". */
function people(count: number, one: string, many: string): string {
  return count === 1 ? `1 person ${one}` : `${count.toLocaleString("en")} people ${many}`;
}

export function SwitchSource({ source, onDone, onClose }: Props) {
  const client = useClient(IdentityService);
  const { busy, fault, run } = useRun(() => (onDone(), onClose()));
  const isOn = source.enabled;
  const send = () => run(() => client.updateIdentitySource({ id: source.id, generation: source.generation, source: switched(source, !isOn) }));
  return (
    <Confirm title={`Turn ${isOn ? "off" : "on"} "${source.title}"?`} verb={isOn ? "Turn off" : "Turn on"} danger={isOn} busy={busy} fault={fault} onConfirm={send} onClose={onClose}>
      {isOn ? (
        <p>
          {people(source.people, "comes", "come")} from it. Their sessions end at once, nobody signs in with it any more, and their API tokens do nothing until it is turned on again.
        </p>
      ) : (
        <p>The sign-in page offers it again, and the API tokens of {people(source.people, "work", "work")} again.</p>
      )}
    </Confirm>
  );
}

export function DeleteSource({ source, onDone, onClose }: Props) {
  const client = useClient(IdentityService);
  const { busy, fault, run } = useRun(() => (onDone(), onClose()));
  const has = source.people > 0;
  return (
    <Confirm
      title={`Delete "${source.title}"?`}
      verb={has ? `Delete it and ${source.people === 1 ? "its person" : `its ${source.people.toLocaleString("en")} people`}` : "Delete"}
      typedName={source.title}
      busy={busy}
      fault={fault}
      onConfirm={() => run(() => client.deleteIdentitySource({ id: source.id, deletePeople: has }))}
      onClose={onClose}
    >
      <p>
        {has
          ? `${people(source.people, "comes", "come")} from it. They are deleted with it: their sessions end at once, their roles and API tokens go. What was done under their names stays in events, tasks and the audit log.`
          : "Nobody comes from it. The sign-in page no longer offers it."}{" "}
        To keep its people out only for a while, turn it off instead.
      </p>
    </Confirm>
  );
}
