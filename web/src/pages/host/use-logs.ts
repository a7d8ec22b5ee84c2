// What a host wrote down, as far as it is shown: the newest first, what comes since on top, older pages on demand.
import { timestampFromMs } from "@bufbuild/protobuf/wkt";
import { useCallback, useEffect, useRef, useState } from "react";
import { useClient } from "../../api/context";
import { HostService } from "../../api/gen/quantix/host/v1/host_pb";
import type { ListLogsResponse, LogLevel, LogRecord } from "../../api/gen/quantix/log/v1/log_pb";

/** Between two questions for what is new. */
const REFRESH_MS = 2_000;
const PAGE_RECORDS = 200;
/** More than a host keeps: what goes beyond is gone there, too. */
const SHOWN_MAX = 5_000;

export interface Wish {
  hostId: string;
  level: LogLevel;
  filter: string;
  /** By the host's clock, in milliseconds; absent: all there is. */
  sinceMs: number | undefined;
}

export interface Log {
  records: LogRecord[];
  total: number;
  /** Token of the page below what is shown; empty at the end. */
  older: string;
  last: ListLogsResponse;
}

/** What is shown after one more answer. */
export function merged(before: Log | undefined, answer: ListLogsResponse): Log {
  // Another life of the daemon, or more news than one page holds: what lies between would be missing.
  const whole = before === undefined || before.last.epoch !== answer.epoch || answer.nextPageToken !== "";
  if (whole) return { records: answer.records, total: Number(answer.total), older: answer.nextPageToken, last: answer };
  const records = [...answer.records, ...before.records].slice(0, SHOWN_MAX);
  return { records, total: before.total + Number(answer.total), older: records.length === SHOWN_MAX ? "" : before.older, last: answer };
}

export function useLogs({ hostId, level, filter, sinceMs }: Wish, isLive: boolean) {
  const client = useClient(HostService);
  const [log, setLog] = useState<Log>();
  const [error, setError] = useState<unknown>();
  const [isFetching, setFetching] = useState(false);
  const known = useRef<Log>(undefined);
  const line = useRef<AbortController>(undefined);
  const busy = useRef(false);

  const ask = useCallback(
    async (more: { pageToken?: string; after?: bigint; epoch?: string }, take: (answer: ListLogsResponse) => Log) => {
      const asked = line.current;
      if (!asked || busy.current) return;
      busy.current = true;
      setFetching(true);
      try {
        const since = sinceMs === undefined ? undefined : timestampFromMs(sinceMs);
        const answer = await client.listLogs({ hostId, level, filter, since, pageSize: PAGE_RECORDS, ...more }, { signal: asked.signal });
        if (asked.signal.aborted) return;
        known.current = take(answer);
        setLog(known.current);
        setError(undefined);
      } catch (failure) {
        if (!asked.signal.aborted) setError(failure);
      } finally {
        if (line.current === asked) {
          busy.current = false;
          setFetching(false);
        }
      }
    },
    [client, hostId, level, filter, sinceMs],
  );

  const look = useCallback(() => {
    const before = known.current;
    const news = before ? { after: before.last.newest, epoch: before.last.epoch } : {};
    void ask(news, (answer) => merged(before, answer));
  }, [ask]);

  const more = () => {
    const before = known.current;
    if (!before || before.older === "") return;
    void ask({ pageToken: before.older }, (page) => ({ ...before, records: [...before.records, ...page.records], older: page.nextPageToken }));
  };

  useEffect(() => {
    const asked = new AbortController();
    line.current = asked;
    busy.current = false;
    known.current = undefined;
    setLog(undefined);
    setError(undefined);
    look();
    return () => asked.abort();
  }, [look]);

  useEffect(() => {
    if (!isLive) return undefined;
    const timer = setInterval(() => {
      if (!document.hidden) look();
    }, REFRESH_MS);
    return () => clearInterval(timer);
  }, [look, isLive]);

  return { log, error, isFetching, look, more };
}
