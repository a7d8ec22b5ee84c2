// Create join token: how long, how many hosts, what for; then the token and the command, shown this once.
import { useState } from "react";
import { useClient } from "../../api/context";
import { JoinTokenService, type CreateJoinTokenResponse } from "../../api/gen/quantix/join_token/v1/join_token_pb";
import { Dialog } from "../../ui/dialog";
import { SelectField, TextField } from "../../ui/field";
import { Copyable } from "../../ui/parts";
import { useRun } from "../../ui/run";
import { formatExact } from "../../ui/time";
import { ms } from "../host/words";

const HOUR = 3600;
const LIVES = [
  { value: String(HOUR), label: "1 hour" },
  { value: String(24 * HOUR), label: "1 day" },
  { value: String(7 * 24 * HOUR), label: "7 days" },
  { value: String(30 * 24 * HOUR), label: "30 days" },
];
const USES_MAX = 1000;

/** A whole number of hosts, or what is wrong with it. */
function usesOf(text: string): number | undefined {
  const n = Number(text);
  return Number.isInteger(n) && n >= 1 && n <= USES_MAX ? n : undefined;
}

export function CreateJoinTokenDialog({ onClose }: { onClose: () => void }) {
  const client = useClient(JoinTokenService);
  const [life, setLife] = useState(String(24 * HOUR));
  const [uses, setUses] = useState("1");
  const [note, setNote] = useState("");
  const [made, setMade] = useState<CreateJoinTokenResponse>();
  const { busy, fault, run } = useRun(() => {});
  const count = usesOf(uses);
  if (made) return <Made made={made} onClose={onClose} />;
  const create = async () => setMade(await client.createJoinToken({ lifeSeconds: Number(life), uses: count, note: note.trim() }));
  return (
    <Dialog title="Create join token" note="Whoever has it can make a machine a host here." submit="Create token" busy={busy} disabled={count === undefined} fault={fault} onSubmit={() => run(create)} onClose={onClose}>
      <div className="q-row">
        <SelectField label="Valid for" value={life} onChange={setLife} options={LIVES} />
        <TextField label="Hosts that may join" value={uses} onChange={(_, v) => setUses(v)} inputMode="numeric" error={count === undefined ? "1 to 1000" : undefined} autoFocus />
      </div>
      <TextField label="Note" optional help="What it is for." maxLength={200} value={note} onChange={(_, v) => setNote(v)} autoComplete="off" />
    </Dialog>
  );
}

function Made({ made, onClose }: { made: CreateJoinTokenResponse; onClose: () => void }) {
  const ends = ms(made.joinToken?.expiresAt);
  const uses = made.joinToken?.uses ?? 1;
  return (
    <Dialog title="Join token" note="Shown this once: copy it now." onClose={onClose} closeLabel="Done">
      <p>
        Good for {uses === 1 ? "one host" : `${uses} hosts`}
        {ends !== undefined && ` until ${formatExact(ends)}`}.
      </p>
      <div className="q-field">
        <span>Token</span>
        <Copyable text={made.token} label="token" />
      </div>
      <div className="q-field">
        <span>On the host, which asks for the token</span>
        <Copyable text={`quantix-node join --vdc ${made.vdcUrl} --token-file -`} label="command" />
        <div className="q-field__help">Paste the token, then press Enter and Ctrl D. For automation name a file instead of -.</div>
      </div>
    </Dialog>
  );
}
