// What can be done with a file of a pool, each as a question that says what follows.
import { useQuery } from "@connectrpc/connect-query";
import { useId, useState } from "react";
import { useApi, useClient } from "../../api/context";
import { faultOf } from "../../api/fault";
import { FileService } from "../../api/gen/quantix/file/v1/file_pb";
import { FileKind, type File as PoolFile, type Pool } from "../../api/gen/quantix/pool/v1/pool_pb";
import { Confirm, Dialog } from "../../ui/dialog";
import { TextField } from "../../ui/field";
import { FaultPanel } from "../../ui/fault";
import { Copyable, Facts, Loading } from "../../ui/parts";
import { formatBytes, formatCount } from "../../ui/quantity";
import { useRun } from "../../ui/run";
import { Age } from "../../ui/time";
import { ms } from "../host/words";

export interface FileProps {
  pool: Pool;
  /** Relative to the pool root. */
  path: string;
  onClose: () => void;
}

export const joined = (folder: string, name: string) => (folder === "" ? name : `${folder}/${name}`);

function nameError(name: string): string | undefined {
  if (name === "" || name === "." || name === "..") return "A name is needed.";
  if (name.includes("/")) return "A name holds no /; to move it elsewhere, use Move.";
  return new TextEncoder().encode(name).length > 255 ? "255 bytes at most." : undefined;
}

export function MakeFolder({ pool, path, onClose }: FileProps) {
  const client = useClient(FileService);
  const { busy, fault, run } = useRun(onClose);
  const [name, setName] = useState("");
  return (
    <Dialog
      title="Make folder"
      note={`In ${pool.name}/${path}`}
      size="small"
      submit="Make folder"
      busy={busy}
      disabled={nameError(name) !== undefined}
      fault={fault}
      onSubmit={() => run(() => client.makeFolder({ poolId: pool.id, path: joined(path, name) }))}
      onClose={onClose}
    >
      <TextField label="Name" value={name} onChange={(_, v) => setName(v)} error={name === "" ? undefined : nameError(name)} autoComplete="off" autoFocus />
    </Dialog>
  );
}

export function MoveOrCopy({ verb, pool, path, onClose }: FileProps & { verb: "Move" | "Copy" }) {
  const client = useClient(FileService);
  const { busy, fault, run } = useRun(onClose);
  const [to, setTo] = useState(verb === "Copy" ? copyName(path) : path);
  const same = to === path || to === "" || to.startsWith("/");
  return (
    <Dialog
      title={`${verb} "${path}"`}
      size="small"
      submit={verb === "Move" ? "Move or rename" : "Copy file"}
      busy={busy}
      disabled={same}
      fault={fault}
      onSubmit={() =>
        run(() =>
          verb === "Move"
            ? client.moveFile({ poolId: pool.id, fromPath: path, toPath: to })
            : client.copyFile({ poolId: pool.id, fromPath: path, toPath: to }),
        )
      }
      onClose={onClose}
    >
      <TextField
        label="To"
        help={`From the top of pool ${pool.name}; the folder must be there. What is there already is never replaced.`}
        value={to}
        onChange={(_, v) => setTo(v)}
        className="q-mono"
        autoComplete="off"
        spellCheck={false}
        autoFocus
      />
    </Dialog>
  );
}

function copyName(path: string): string {
  const dot = path.lastIndexOf(".");
  return dot > path.lastIndexOf("/") + 1 ? `${path.slice(0, dot)}-copy${path.slice(dot)}` : `${path}-copy`;
}

export function DeleteFile({ pool, path, file, onClose }: FileProps & { file: PoolFile }) {
  const client = useClient(FileService);
  const { busy, fault, run } = useRun(onClose);
  const folder = file.kind === FileKind.DIRECTORY;
  return (
    <Confirm
      title={`Delete ${folder ? "folder" : "file"} "${file.name}"?`}
      verb={folder ? "Delete folder" : "Delete file"}
      typedName={folder ? file.name : undefined}
      busy={busy}
      fault={fault}
      onConfirm={() => run(() => client.deleteFile({ poolId: pool.id, path }))}
      onClose={onClose}
    >
      <p>{folder ? "The folder and everything in it are" : `${formatBytes(file.sizeBytes)} are`} lost. This cannot be undone. What a volume or an image needs is refused.</p>
    </Confirm>
  );
}

export function UploadFile({ pool, path, onClose }: FileProps) {
  const { uploads } = useApi();
  const client = useClient(FileService);
  const fileId = useId();
  const [file, setFile] = useState<File>();
  const { busy, fault, run } = useRun(onClose);
  const send = async (chosen: File) => {
    const { uploadId, uploadPath } = await client.createUpload({ poolId: pool.id, path: joined(path, chosen.name), sizeBytes: BigInt(chosen.size) });
    void uploads.start(uploadId, chosen.name, uploadPath, chosen);
  };
  return (
    <Dialog
      title="Upload file"
      note={`Into ${pool.name}/${path}. It appears when it is whole; the tasks bar shows how far it is.`}
      size="small"
      submit="Upload file"
      busy={busy}
      disabled={!file}
      fault={fault}
      onSubmit={() => file && run(() => send(file))}
      onClose={onClose}
    >
      <div className="q-field">
        <label htmlFor={fileId}>File</label>
        <input id={fileId} type="file" className="q-pick" onChange={(e) => setFile(e.target.files?.[0])} />
        {file && <div className="q-field__help">{formatBytes(file.size)}</div>}
      </div>
    </Dialog>
  );
}

export function FileLook({ pool, path, onClose }: FileProps) {
  const query = useQuery(FileService.method.getFile, { poolId: pool.id, path });
  const d = query.data;
  return (
    <Dialog title={`"${path}"`} closeLabel="Close" onClose={onClose}>
      {query.error && <FaultPanel fault={faultOf(query.error)} onRetry={() => void query.refetch()} />}
      {!d && !query.error && <Loading label="file" />}
      {d && (
        <Facts
          rows={[
            ["Path", <Copyable key="p" text={d.path} label="path" />],
            ["Kind", d.file?.format || "file"],
            ["Size", formatBytes(d.file?.sizeBytes ?? 0n)],
            ["On disk", formatBytes(d.file?.allocatedBytes ?? 0n)],
            ["As a guest sees it", d.virtualSizeBytes > 0n ? formatBytes(d.virtualSizeBytes) : ""],
            ["Built on", d.backingChain.length > 0 ? <Chain key="b" names={d.backingChain} /> : ""],
            ["Snapshots inside", d.snapshots.length > 0 ? `${formatCount(d.snapshots.length, "snapshot")}: ${d.snapshots.join(", ")}` : ""],
            ["Belongs to", d.file?.claimedBy],
            ["Owner", d.file?.owner],
            ["Modified", <Age key="m" at={ms(d.file?.modifiedAt)} />],
            ["Seen by", <>{d.host} <Age at={ms(d.observedAt)} /></>],
          ]}
        />
      )}
    </Dialog>
  );
}

function Chain({ names }: { names: string[] }) {
  return (
    <ol className="q-list">
      {names.map((name) => (
        <li key={name} className="q-mono">
          {name}
        </li>
      ))}
    </ol>
  );
}
