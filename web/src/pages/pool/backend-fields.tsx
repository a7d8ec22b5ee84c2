// What each kind of pool needs to know.
import { Checkbox } from "@patternfly/react-core";
import { Link } from "@tanstack/react-router";
import { Controller, useFormContext } from "react-hook-form";
import { SelectField, TextField } from "../../ui/field";
import { FindCephPools, FindExports, FindLuns, FindTargets } from "./find-names";
import { NFS_VERSIONS, type PoolInput } from "./pool-form";

export function BackendFields() {
  const kind = useFormContext<PoolInput>().watch("kind");
  if (kind === "local") return <LocalFields />;
  if (kind === "nfs") return <NfsFields />;
  return kind === "ceph" ? <CephFields /> : <IscsiFields />;
}

/** A line of the form by its name; what is wrong with it comes from the form. */
export function Line(props: { name: keyof PoolInput; label: string; help?: string; placeholder?: string; optional?: boolean; secret?: boolean; type?: string }) {
  const { register, formState } = useFormContext<PoolInput>();
  const { name, secret, type, ...rest } = props;
  return (
    <TextField
      {...rest}
      type={(secret ? "password" : type) as "text"}
      className="q-mono"
      autoComplete={secret ? "new-password" : "off"}
      spellCheck={false}
      error={formState.errors[name]?.message as string | undefined}
      {...register(name)}
    />
  );
}

function Tick({ name, label, note }: { name: "chap" | "mutual" | "createVolumeGroup"; label: string; note?: string }) {
  const { control } = useFormContext<PoolInput>();
  return (
    <Controller
      control={control}
      name={name}
      render={({ field }) => <Checkbox id={`pool-${name}`} label={label} description={note} isChecked={field.value} onChange={(_, on) => field.onChange(on)} />}
    />
  );
}

function LocalFields() {
  const hostId = useFormContext<PoolInput>().watch("hostIds")[0];
  return (
    <>
      <Line name="path" label="Path on the host" help="Absolute. It is made if its parent exists. It must not belong to another pool." />
      {hostId && (
        <p>
          <Link to="/hosts/$id" params={{ id: hostId }} search={{ tab: "disks" }}>
            Use a whole disk of the host instead
          </Link>
        </p>
      )}
    </>
  );
}

function NfsFields() {
  const { control } = useFormContext<PoolInput>();
  return (
    <>
      <div className="q-row">
        <Line name="server" label="Server" placeholder="nas.example.org" />
        <Line name="exportPath" label="Export" placeholder="/srv/vms" />
      </div>
      <FindExports />
      <div className="q-row">
        <Controller
          control={control}
          name="nfsVersion"
          render={({ field }) => <SelectField label="NFS version" value={field.value} onChange={field.onChange} options={NFS_VERSIONS.map((v) => ({ value: v.value, label: v.label }))} />}
        />
        <Line name="options" label="Mount options" optional placeholder="nconnect=4" />
      </div>
      <Line name="mountPath" label="Mount point" optional help="On every host; if empty, /var/lib/quantix/pools/ and the pool's id." />
    </>
  );
}

function CephFields() {
  return (
    <>
      <Line name="monitors" label="Monitors" help="Addresses, separated by spaces or commas." placeholder="192.0.2.11:3300, 192.0.2.12:3300" />
      <div className="q-row">
        <Line name="cephPool" label="Ceph pool" placeholder="vms" />
        <Line name="cephUser" label="CephX user" placeholder="quantix" />
      </div>
      <Line name="cephKey" label="Key" secret help="What `ceph auth print-key client.<user>` prints. It is never shown again." />
      <FindCephPools />
    </>
  );
}

/** Who we are to a target, and who it is to us. */
export function Chap({ passwordHelp }: { passwordHelp: string }) {
  const { watch } = useFormContext<PoolInput>();
  return (
    <>
      <Tick name="chap" label="The target asks who we are (CHAP)" />
      {watch("chap") && (
        <>
          <div className="q-row">
            <Line name="chapUser" label="CHAP user" />
            <Line name="chapPassword" label="CHAP password" secret help={passwordHelp} />
          </div>
          <Tick name="mutual" label="We ask who the target is, too (mutual CHAP)" />
          {watch("mutual") && (
            <div className="q-row">
              <Line name="mutualUser" label="Target's CHAP user" />
              <Line name="mutualPassword" label="Target's CHAP password" secret />
            </div>
          )}
        </>
      )}
    </>
  );
}

function IscsiFields() {
  return (
    <>
      <div className="q-row">
        <Line name="portal" label="Portal" placeholder="192.0.2.20:3260" />
        <Line name="lun" label="LUN" type="number" />
      </div>
      <Line name="target" label="Target" placeholder="iqn.2026-01.org.example:vms" />
      <FindTargets />
      <Chap passwordHelp="12 to 16 characters are what every target takes." />
      <FindLuns />
      <Line name="volumeGroup" label="Volume group" help="LVM's name for the LUN; the same on every host." placeholder="quantix_vms" />
      <Tick name="createVolumeGroup" label="Make the volume group if the LUN is empty" note="A LUN with anything on it is refused, with what was found." />
    </>
  );
}
