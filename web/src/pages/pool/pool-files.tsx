// What lies in the pool, as a healthy host sees it now.
import FileIcon from "@patternfly/react-icons/dist/esm/icons/file-icon";
import FolderIcon from "@patternfly/react-icons/dist/esm/icons/folder-icon";
import { Button } from "@patternfly/react-core";
import { useState } from "react";
import { faultOf } from "../../api/fault";
import { FileKind, FileSort, type File, type Pool } from "../../api/gen/quantix/pool/v1/pool_pb";
import { useFiles } from "../../api/lists";
import { usePageState } from "../../shell/page-state";
import { Filter } from "../../ui/filter";
import { ActionButton, allowedOf, Empty } from "../../ui/parts";
import { formatBytes } from "../../ui/quantity";
import { DataTable, type Column } from "../../ui/table";
import { Age } from "../../ui/time";
import { ms } from "../host/words";
import { DeleteFile, FileLook, joined, MakeFolder, MoveOrCopy, UploadFile } from "./file-dialogs";

const SORTS: Record<string, FileSort> = { name: FileSort.NAME, size: FileSort.SIZE, modified: FileSort.MODIFIED };

export function PoolFiles({ pool }: { pool: Pool }) {
  const page = usePageState();
  const { sort = { id: "name", descending: false } } = page;
  const files = useFiles({
    poolId: pool.id,
    path: page.path,
    filter: page.filter,
    sort: SORTS[sort.id] ?? FileSort.NAME,
    descending: sort.descending,
  });
  const [dialog, setDialog] = useState<FileDialog>();
  const write = allowedOf(pool.allowedActions, "write_files");
  const close = () => {
    setDialog(undefined);
    files.again();
  };
  const open = (name: string) => page.setPath(joined(page.path, name));
  const columns: Column<File>[] = [
    {
      id: "name",
      header: "Name",
      sort: (f) => f.name,
      cell: (f) => (
        <span className="q-file">
          <span aria-hidden="true">{f.kind === FileKind.DIRECTORY ? <FolderIcon /> : <FileIcon />}</span>
          {f.kind === FileKind.DIRECTORY ? (
            <Button variant="link" isInline onClick={() => open(f.name)} aria-label={`Open folder ${f.name}`}>
              {f.name}
            </Button>
          ) : f.kind === FileKind.REGULAR ? (
            <Button variant="link" isInline onClick={() => setDialog({ what: "look", path: joined(page.path, f.name) })} aria-label={`Look at ${f.name}`}>
              {f.name}
            </Button>
          ) : (
            f.name
          )}
        </span>
      ),
    },
    { id: "format", header: "Kind", cell: (f) => kindName(f) },
    { id: "claim", header: "Belongs to", cell: (f) => f.claimedBy || <span className="q-muted">–</span> },
    { id: "size", header: "Size", numeric: true, sort: (f) => f.sizeBytes, cell: (f) => (f.kind === FileKind.DIRECTORY ? "" : formatBytes(f.sizeBytes)) },
    { id: "taken", header: "On disk", numeric: true, cell: (f) => (f.kind === FileKind.DIRECTORY ? "" : formatBytes(f.allocatedBytes)) },
    { id: "mode", header: "Mode", cell: (f) => <span className="q-mono">{f.mode.toString(8).padStart(4, "0")}</span> },
    { id: "owner", header: "Owner", cell: (f) => f.owner },
    { id: "modified", header: "Modified", sort: (f) => ms(f.modifiedAt) ?? 0, cell: (f) => <Age at={ms(f.modifiedAt)} /> },
    { id: "action", header: "Actions", isHeaderHidden: true, cell: (f) => <FileActions pool={pool} file={f} path={joined(page.path, f.name)} onOpen={setDialog} /> },
  ];
  const answered = files.first;
  return (
    <>
      <div className="q-toolbar">
        <FolderCrumbs pool={pool.name} path={page.path} onOpen={page.setPath} />
        <Filter label="Filter files by name" value={page.filter} onChange={page.setFilter} />
        {answered && (
          <span className="q-muted">
            seen by {answered.host} <Age at={ms(answered.observedAt)} />
          </span>
        )}
        <Button variant="link" size="sm" onClick={files.again} isLoading={files.isFetching}>
          Read again
        </Button>
        <ActionButton action={write} onClick={() => setDialog({ what: "folder", path: page.path })}>
          Make folder
        </ActionButton>
        <ActionButton action={write} onClick={() => setDialog({ what: "upload", path: page.path })}>
          Upload file
        </ActionButton>
      </div>
      <DataTable
        label="Files"
        rows={files.rows}
        columns={columns}
        rowId={(f) => f.name}
        rowName={(f) => f.name}
        sort={sort}
        onSort={page.setSort}
        sortedByServer
        total={files.total}
        hasMore={files.hasMore}
        onMore={files.more}
        fault={files.error ? faultOf(files.error) : undefined}
        onRetry={files.again}
        empty={<Empty title={page.filter ? `Nothing here has "${page.filter}" in its name` : "This folder is empty"} />}
      />
      {dialog && <OpenDialog pool={pool} dialog={dialog} onClose={close} />}
    </>
  );
}

type FileDialog = { path: string } & ({ what: "folder" | "upload" | "look" | "move" | "copy" } | { what: "delete"; file: File });

function OpenDialog({ pool, dialog, onClose }: { pool: Pool; dialog: FileDialog; onClose: () => void }) {
  const props = { pool, path: dialog.path, onClose };
  switch (dialog.what) {
    case "folder":
      return <MakeFolder {...props} />;
    case "upload":
      return <UploadFile {...props} />;
    case "look":
      return <FileLook {...props} />;
    case "move":
      return <MoveOrCopy {...props} verb="Move" />;
    case "copy":
      return <MoveOrCopy {...props} verb="Copy" />;
    case "delete":
      return <DeleteFile {...props} file={dialog.file} />;
  }
}

/** What may be done with one row, as the host says; what it refuses has its reason. */
function FileActions({ pool, file, path, onOpen }: { pool: Pool; file: File; path: string; onOpen: (dialog: FileDialog) => void }) {
  const told = (verb: string) => file.allowedActions.find((a) => a.verb === verb);
  const [download, copy, move, remove] = [told("download"), told("copy"), told("move"), told("delete")];
  return (
    <span className="q-nowrap">
      {download?.allowed && (
        <a className="q-link" href={`/api/v1/pools/${pool.id}/files?path=${encodeURIComponent(path)}`} download={file.name}>
          Download
        </a>
      )}
      {copy && (
        <ActionButton variant="link" action={copy} onClick={() => onOpen({ what: "copy", path })}>
          Copy
        </ActionButton>
      )}
      {move && (
        <ActionButton variant="link" action={move} onClick={() => onOpen({ what: "move", path })}>
          Move
        </ActionButton>
      )}
      {remove && (
        <ActionButton variant="link" action={remove} onClick={() => onOpen({ what: "delete", path, file })}>
          Delete
        </ActionButton>
      )}
    </span>
  );
}

function FolderCrumbs({ pool, path, onOpen }: { pool: string; path: string; onOpen: (path: string) => void }) {
  const parts = path === "" ? [] : path.split("/");
  return (
    <nav className="q-crumbs" aria-label="Folder" style={{ margin: 0 }}>
      <ol>
        <li>{parts.length === 0 ? <span aria-current="page">{pool}</span> : <button type="button" onClick={() => onOpen("")}>{pool}</button>}</li>
        {parts.map((part, i) => {
          const here = parts.slice(0, i + 1).join("/");
          return (
            <li key={here}>
              {i === parts.length - 1 ? (
                <span aria-current="page">{part}</span>
              ) : (
                <button type="button" onClick={() => onOpen(here)}>
                  {part}
                </button>
              )}
            </li>
          );
        })}
      </ol>
    </nav>
  );
}

function kindName(file: File): string {
  switch (file.kind) {
    case FileKind.DIRECTORY:
      return "folder";
    case FileKind.SYMLINK:
      return "symbolic link";
    case FileKind.REGULAR:
      return file.format || "file";
    default:
      return "special file";
  }
}
