// Server-paged lists: filter travels to the vDC, further pages are read as they scroll into view.
import type { DescMessage, DescMethodUnary, MessageInitShape, MessageShape } from "@bufbuild/protobuf";
import { useInfiniteQuery } from "@connectrpc/connect-query";
import { useMemo } from "react";
import { HostService } from "./gen/quantix/host/v1/host_pb";
import { ImageService } from "./gen/quantix/image/v1/image_pb";
import { PoolService, type ListFilesRequest } from "./gen/quantix/pool/v1/pool_pb";
import { TaskService } from "./gen/quantix/task/v1/task_pb";
import { VmService } from "./gen/quantix/vm/v1/vm_pb";
import { VolumeService } from "./gen/quantix/volume/v1/volume_pb";

const PAGE_ROWS = 100;

export interface List<Row, Answer> {
  /** Undefined until the first answer. */
  rows: Row[] | undefined;
  total: number;
  first: Answer | undefined;
  error: unknown;
  isFetching: boolean;
  hasMore: boolean;
  more: () => void;
  again: () => void;
}

interface Paged {
  nextPageToken: string;
  total: bigint;
}

function useList<I extends DescMessage, O extends DescMessage, Row>(
  method: DescMethodUnary<I, O>,
  input: Record<string, unknown>,
  pick: (answer: MessageShape<O>) => Row[],
  enabled = true,
): List<Row, MessageShape<O>> {
  const query = useInfiniteQuery(
    method,
    { pageSize: PAGE_ROWS, ...input, pageToken: "" } as never,
    {
      pageParamKey: "pageToken" as never,
      getNextPageParam: (last: unknown) => ((last as Paged).nextPageToken || undefined) as never,
      enabled,
    } as never,
  );
  const pages = query.data?.pages as MessageShape<O>[] | undefined;
  const rows = useMemo(() => pages?.flatMap(pick), [pages, pick]);
  return {
    rows,
    total: Number((pages?.at(-1) as Paged | undefined)?.total ?? 0n),
    first: pages?.[0],
    error: query.error,
    isFetching: query.isFetching,
    hasMore: query.hasNextPage,
    more: () => {
      if (query.hasNextPage && !query.isFetchingNextPage) void query.fetchNextPage();
    },
    again: () => void query.refetch(),
  };
}

type AnswerOf<M extends { output: DescMessage }> = MessageShape<M["output"]>;
const pickHosts = (a: AnswerOf<typeof HostService.method.listHosts>) => a.hosts;
const pickPools = (a: AnswerOf<typeof PoolService.method.listPools>) => a.pools;
const pickImages = (a: AnswerOf<typeof ImageService.method.listImages>) => a.images;
const pickVolumes = (a: AnswerOf<typeof VolumeService.method.listVolumes>) => a.volumes;
const pickVms = (a: AnswerOf<typeof VmService.method.listVms>) => a.vms;
const pickTasks = (a: AnswerOf<typeof TaskService.method.listTasks>) => a.tasks;
const pickFiles = (a: AnswerOf<typeof PoolService.method.listFiles>) => a.files;

export const useHosts = (filter = "") => useList(HostService.method.listHosts, { filter }, pickHosts);
export const usePools = (filter = "") => useList(PoolService.method.listPools, { filter }, pickPools);
export const useImages = (filter = "") => useList(ImageService.method.listImages, { filter }, pickImages);
export const useVolumes = (filter = "", poolId = "") =>
  useList(VolumeService.method.listVolumes, { filter, poolId }, pickVolumes);
export const useVms = (filter = "", hostId = "") => useList(VmService.method.listVms, { filter, hostId }, pickVms);
export const useTasks = (objectId = "") => useList(TaskService.method.listTasks, { objectId }, pickTasks);
export const useFiles = (input: MessageInitShape<typeof PoolService.method.listFiles.input> & Partial<ListFilesRequest>) =>
  useList(PoolService.method.listFiles, { ...input }, pickFiles);
