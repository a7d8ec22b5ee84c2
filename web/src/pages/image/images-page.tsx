// The library: what VMs start from, and uploads on their way in.
import { Button } from "@patternfly/react-core";
import { Link } from "@tanstack/react-router";
import { lazy, Suspense, useEffect, useState, useSyncExternalStore } from "react";
import { useApi, useClient } from "../../api/context";
import { faultOf, viewOf } from "../../api/fault";
import { ImagePhase, ImageService, type Image } from "../../api/gen/quantix/image/v1/image_pb";
import { ORDERS, useImages } from "../../api/lists";
import { useRight } from "../../api/session";
import { usePageState } from "../../shell/page-state";
import { Confirm } from "../../ui/dialog";
import { FaultPanel, type FaultView } from "../../ui/fault";
import { Filter } from "../../ui/filter";
import { ActionButton, allowedOf, Copyable, Empty, PageTitle } from "../../ui/parts";
import { formatBytes } from "../../ui/quantity";
import { Status } from "../../ui/status";
import { DataTable, type Column } from "../../ui/table";
import { Age } from "../../ui/time";
import { ms } from "../host/words";
import { ImageProgress } from "./image-progress";
import { imageFormatName, imageStatus } from "./words";

const UploadDialog = lazy(() => import("./upload-image").then((m) => ({ default: m.UploadDialog })));

export function ImagesPage() {
  const page = usePageState();
  const create = useRight()("image.manage", "a pool");
  const { uploads } = useApi();
  const images = useImages(page);
  const running = useSyncExternalStore(uploads.subscribe, uploads.snapshot);
  const [deleting, setDeleting] = useState<Image>();
  const [shown, setShown] = useState<FaultView>();
  const uploadOf = (image: Image) => running.find((u) => u.imageId === image.id);

  useEffect(() => {
    // An upload is over once the vDC says what became of the image.
    for (const u of uploads.snapshot()) {
      const image = images.rows?.find((i) => i.id === u.imageId);
      if (image && image.phase !== ImagePhase.UPLOADING) uploads.forget(image.id);
    }
  }, [images.rows, uploads]);

  const columns: Column<Image>[] = [
    { id: "name", header: "Name", sort: (i) => i.name, cell: (i) => i.name },
    {
      id: "state",
      header: "State",
      width: "280px",
      sort: (i) => i.phase,
      cell: (i) => (
        <>
          <Status {...imageStatus(i, uploadOf(i))} />
          <ImageProgress image={i} upload={uploadOf(i)} narrow />
          {i.fault && (
            <div className="q-table__sub">
              {i.fault.message}{" "}
              <Button variant="link" isInline size="sm" aria-label={`Details of the error of ${i.name}`} onClick={() => i.fault && setShown(viewOf(i.fault))}>
                Details
              </Button>
            </div>
          )}
        </>
      ),
    },
    { id: "format", header: "Format", sort: (i) => i.format, cell: (i) => imageFormatName(i.format) },
    {
      id: "pool",
      header: "Pool",
      sort: (i) => i.pool,
      cell: (i) => (
        <Link to="/pools/$id" params={{ id: i.poolId }}>
          {i.pool}
        </Link>
      ),
    },
    { id: "size", header: "Size", numeric: true, sort: (i) => i.sizeBytes, cell: (i) => formatBytes(i.sizeBytes) },
    { id: "virtual", header: "As a disk", numeric: true, cell: (i) => (i.virtualSizeBytes > 0n ? formatBytes(i.virtualSizeBytes) : "–") },
    { id: "sha256", header: "SHA-256", cell: (i) => (i.sha256 ? <span className="q-hash"><Copyable text={i.sha256} label={`SHA-256 of ${i.name}`} /></span> : "–") },
    { id: "created", header: "Created", sort: (i) => ms(i.createdAt) ?? 0, cell: (i) => <Age at={ms(i.createdAt)} /> },
    {
      id: "action",
      header: "Actions", isHeaderHidden: true,
      cell: (i) => (
        <ActionButton variant="link" action={allowedOf(i.allowedActions, "delete")} onClick={() => setDeleting(i)}>
          {i.phase === ImagePhase.UPLOADING ? "Cancel upload" : "Delete"}
        </ActionButton>
      ),
    },
  ];
  return (
    <>
      <PageTitle
        title="Images"
        actions={
          <ActionButton variant="primary" action={create} onClick={page.openCreate}>
            Upload image
          </ActionButton>
        }
      />
      {shown && (
        <div style={{ marginBottom: 16 }}>
          <FaultPanel fault={shown} onClose={() => setShown(undefined)} />
        </div>
      )}
      {(page.filter !== "" || (images.rows?.length ?? 0) > 0) && (
        <div className="q-toolbar">
          <Filter label="Filter images by name" value={page.filter} onChange={page.setFilter} />
        </div>
      )}
      <DataTable
        label="Images"
        rows={images.rows}
        columns={columns}
        rowId={(i) => i.id}
        rowName={(i) => i.name}
        sort={page.sort}
        onSort={page.setSort}
        orders={ORDERS.images}
        total={images.total}
        hasMore={images.hasMore}
        onMore={images.more}
        fault={images.error ? faultOf(images.error) : undefined}
        onRetry={images.again}
        empty={
          page.filter ? (
            <Empty title={`No image has "${page.filter}" in its name`} />
          ) : (
            <Empty title="No image yet" action={<ActionButton isLarge variant="primary" action={create} onClick={page.openCreate}>Upload image</ActionButton>}>
              Images are ISOs and disk images (qcow2, raw) that VMs start from. An upload survives a broken line.
            </Empty>
          )
        }
      />
      {page.isCreating && create.allowed && (
        <Suspense>
          <UploadDialog onClose={page.closeCreate} />
        </Suspense>
      )}
      {deleting && <DeleteImage image={deleting} onClose={() => setDeleting(undefined)} />}
    </>
  );
}

function DeleteImage({ image, onClose }: { image: Image; onClose: () => void }) {
  const { uploads } = useApi();
  const client = useClient(ImageService);
  const [busy, setBusy] = useState(false);
  const [fault, setFault] = useState<FaultView>();
  const isUpload = image.phase === ImagePhase.UPLOADING;
  const run = async () => {
    setBusy(true);
    setFault(undefined);
    try {
      await uploads.stop(image.id);
      await client.deleteImage({ id: image.id });
      onClose();
    } catch (error) {
      setFault(faultOf(error));
      setBusy(false);
    }
  };
  return (
    <Confirm
      title={isUpload ? `Cancel the upload of "${image.name}"?` : `Delete image "${image.name}"?`}
      verb={isUpload ? "Cancel upload" : "Delete image"}
      busy={busy}
      fault={fault}
      onConfirm={() => void run()}
      onClose={onClose}
    >
      <p>
        {isUpload
          ? `The ${formatBytes(image.receivedBytes)} that arrived are removed from pool ${image.pool}.`
          : `Its file (${formatBytes(image.sizeBytes)}) is removed from pool ${image.pool}. Disks made from it stay.`}
      </p>
    </Confirm>
  );
}
