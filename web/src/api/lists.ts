// Server-paged lists: filter and order travel to the vDC, further pages are read as they scroll into view.
import type { DescMessage, DescMethodUnary, MessageInitShape, MessageShape } from "@bufbuild/protobuf";
import { useInfiniteQuery, useQuery } from "@connectrpc/connect-query";
import { keepPreviousData } from "@tanstack/react-query";
import { useCallback, useMemo } from "react";
import { AlertService } from "./gen/quantix/alert/v1/alert_pb";
import { EventService, Severity } from "./gen/quantix/event/v1/event_pb";
import { HostService } from "./gen/quantix/host/v1/host_pb";
import { ImageService } from "./gen/quantix/image/v1/image_pb";
import { SortBy } from "./gen/quantix/list/v1/list_pb";
import { PoolService, type ListFilesRequest } from "./gen/quantix/pool/v1/pool_pb";
import { TaskService } from "./gen/quantix/task/v1/task_pb";
import { VmService } from "./gen/quantix/vm/v1/vm_pb";
import { VolumeService } from "./gen/quantix/volume/v1/volume_pb";
import { PAGE_ROWS } from "../ui/page";


/** Columns, by their ids, that the vDC can order a list by. */
export type Orders = Readonly<Record<string, SortBy>>;

const NAMED = { name: SortBy.NAME, created: SortBy.CREATED };
export const ORDERS = {
  hosts: NAMED,
  pools: NAMED,
  images: { ...NAMED, size: SortBy.SIZE },
  volumes: { ...NAMED, size: SortBy.SIZE },
  vms: { ...NAMED, vcpus: SortBy.VCPUS, memory: SortBy.MEMORY },
  tasks: { created: SortBy.CREATED },
  alerts: { urgency: SortBy.URGENCY, created: SortBy.CREATED },
} satisfies Record<string, Orders>;

/** Alerts that the dashboard has room for. */
const ALERTS_SHOWN = 6;

/** What a page asks a list for. */
export interface Wish {
  filter?: string;
  sort?: { id: string; descending: boolean };
  /** False: not asked for now. */
  enabled?: boolean;
  /** What was found before stays until this is: for lists that one types into. */
  keep?: boolean;
}

/** A column that the vDC cannot order by is left to the table. */
export function asked(orders: Orders, { filter = "", sort }: Wish) {
  const by = sort && orders[sort.id];
  return by === undefined || !sort ? { filter } : { filter, order: { by, descending: sort.descending } };
}

export interface List<Row, Answer> {
  /** Undefined until the first answer. */
  rows: Row[] | undefined;
  total: number;
  first: Answer | undefined;
  error: unknown;
  isFetching: boolean;
  /** `rows` are those of what was asked before. */
  isOld: boolean;
  hasMore: boolean;
  more: () => void;
  again: () => void;
}

/** When a list is asked for again. */
interface Again {
  staleTime?: number;
  refetchInterval?: number;
}

/** For lists that the watch does not tell of: whenever they are looked at, and each quarter of a minute meanwhile. */
export const UNTOLD: Again = { staleTime: 0, refetchInterval: 15_000 };

interface Paged {
  nextPageToken: string;
  total: bigint;
}

/** One list, page by page. */
export function useList<I extends DescMessage, O extends DescMessage, Row>(
  method: DescMethodUnary<I, O>,
  input: Record<string, unknown>,
  pick: (answer: MessageShape<O>) => Row[],
  enabled = true,
  keep = false,
  again: Again = {},
): List<Row, MessageShape<O>> {
  const query = useInfiniteQuery(
    method,
    { pageSize: PAGE_ROWS, ...input, pageToken: "" } as never,
    {
      pageParamKey: "pageToken" as never,
      getNextPageParam: (last: unknown) => ((last as Paged).nextPageToken || undefined) as never,
      enabled,
      placeholderData: keep ? keepPreviousData : undefined,
      ...again,
    } as never,
  );
  const { refetch } = query;
  const anew = useCallback(() => void refetch(), [refetch]);
  const pages = query.data?.pages as MessageShape<O>[] | undefined;
  const rows = useMemo(() => pages?.flatMap(pick), [pages, pick]);
  return {
    rows,
    total: Number((pages?.at(-1) as Paged | undefined)?.total ?? 0n),
    first: pages?.[0],
    error: query.error,
    isFetching: query.isFetching,
    isOld: query.isPlaceholderData,
    hasMore: query.hasNextPage,
    more: () => {
      if (query.hasNextPage && !query.isFetchingNextPage) void query.fetchNextPage();
    },
    again: anew,
  };
}

type AnswerOf<M extends { output: DescMessage }> = MessageShape<M["output"]>;
const pickHosts = (a: AnswerOf<typeof HostService.method.listHosts>) => a.hosts;
const pickPools = (a: AnswerOf<typeof PoolService.method.listPools>) => a.pools;
const pickImages = (a: AnswerOf<typeof ImageService.method.listImages>) => a.images;
const pickVolumes = (a: AnswerOf<typeof VolumeService.method.listVolumes>) => a.volumes;
const pickVms = (a: AnswerOf<typeof VmService.method.listVms>) => a.vms;
const pickTasks = (a: AnswerOf<typeof TaskService.method.listTasks>) => a.tasks;
const pickEvents = (a: AnswerOf<typeof EventService.method.listEvents>) => a.events;
const pickAlerts = (a: AnswerOf<typeof AlertService.method.listAlerts>) => a.alerts;
const pickFiles = (a: AnswerOf<typeof PoolService.method.listFiles>) => a.files;

export const useHosts = (wish: Wish = {}) => useList(HostService.method.listHosts, asked(ORDERS.hosts, wish), pickHosts, wish.enabled, wish.keep);
export const usePools = (wish: Wish & { hostId?: string } = {}) =>
  useList(PoolService.method.listPools, { ...asked(ORDERS.pools, wish), hostId: wish.hostId ?? "" }, pickPools, wish.enabled, wish.keep);
export const useImages = (wish: Wish = {}) => useList(ImageService.method.listImages, asked(ORDERS.images, wish), pickImages, wish.enabled, wish.keep);
export const useVolumes = (wish: Wish & { poolId?: string; free?: boolean } = {}) =>
  useList(
    VolumeService.method.listVolumes,
    { ...asked(ORDERS.volumes, wish), poolId: wish.poolId ?? "", free: wish.free ?? false },
    pickVolumes,
    wish.enabled,
    wish.keep,
  );
export const useVms = (wish: Wish & { hostId?: string } = {}) =>
  useList(VmService.method.listVms, { ...asked(ORDERS.vms, wish), hostId: wish.hostId ?? "" }, pickVms, wish.enabled, wish.keep);
export const useTasks = (wish: Wish & { objectId?: string } = {}) =>
  useList(TaskService.method.listTasks, { ...asked(ORDERS.tasks, wish), objectId: wish.objectId ?? "" }, pickTasks);
export const useEvents = (filter = "", objectId = "", severity = Severity.UNSPECIFIED) =>
  useList(EventService.method.listEvents, { filter, objectId, severity }, pickEvents);
export const useAlerts = (wish: Wish & { severity?: Severity; open?: boolean } = {}) =>
  useList(AlertService.method.listAlerts, { ...asked(ORDERS.alerts, wish), severity: wish.severity ?? Severity.UNSPECIFIED, open: wish.open ?? false }, pickAlerts);
/** The worst alerts that nobody looks after, and in `total` how many there are: for what shows only their beginning. */
export const useOpenAlerts = () => useQuery(AlertService.method.listAlerts, { open: true, pageSize: ALERTS_SHOWN });
export const useFiles = (input: MessageInitShape<typeof PoolService.method.listFiles.input> & Partial<ListFilesRequest>) =>
  useList(PoolService.method.listFiles, { ...input }, pickFiles);
