// All volumes.
import { lazy, Suspense } from "react";
import { useRight } from "../../api/session";
import { usePageState } from "../../shell/page-state";
import { ActionButton, PageTitle } from "../../ui/parts";
import { VolumeTable } from "./volume-table";

const CreateVolumeDialog = lazy(() => import("./create-volume").then((m) => ({ default: m.CreateVolumeDialog })));

export function VolumesPage() {
  const page = usePageState();
  const create = useRight()("volume.manage", "a pool");
  return (
    <>
      <PageTitle
        title="Volumes"
        actions={
          <ActionButton variant="primary" action={create} onClick={page.openCreate}>
            Create volume
          </ActionButton>
        }
      />
      <VolumeTable page={page} create={<ActionButton isLarge variant="primary" action={create} onClick={page.openCreate}>Create volume</ActionButton>} />
      {page.isCreating && create.allowed && (
        <Suspense>
          <CreateVolumeDialog onClose={page.closeCreate} />
        </Suspense>
      )}
    </>
  );
}
