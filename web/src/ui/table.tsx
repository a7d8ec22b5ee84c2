// Rows of one kind: server-paged, virtual beyond a screenful, sortable, selectable.
import { Button, Checkbox } from "@patternfly/react-core";
import { useVirtualizer } from "@tanstack/react-virtual";
import { useEffect, useMemo, useRef, type ReactNode } from "react";
import { FaultPanel, type FaultView } from "./fault";
import { Refused } from "./forbidden";
import { PAGE_ROWS } from "./page";
import { Loading } from "./parts";
import { formatCount } from "./quantity";

export interface Column<Row> {
  id: string;
  header: string;
  /** Heard, not seen. */
  isHeaderHidden?: boolean;
  cell: (row: Row) => ReactNode;
  /** Present when the column may be sorted by. */
  sort?: (row: Row) => string | number | bigint;
  numeric?: boolean;
  width?: string;
}

export interface Sort {
  id: string;
  descending: boolean;
}

export interface DataTableProps<Row> {
  label: string;
  rows: readonly Row[] | undefined;
  columns: readonly Column<Row>[];
  rowId: (row: Row) => string;
  rowName: (row: Row) => string;
  empty: ReactNode;
  fault?: FaultView;
  onRetry?: () => void;
  sort?: Sort;
  onSort?: (sort: Sort) => void;
  /** The server sorted already. */
  sortedByServer?: boolean;
  /** Columns by which the server sorts; by others only a whole list is sorted, here. */
  orders?: Readonly<Record<string, unknown>>;
  total?: number;
  hasMore?: boolean;
  onMore?: () => void;
  selected?: ReadonlySet<string>;
  onSelect?: (selected: ReadonlySet<string>) => void;
}

const BY_NAME: Sort = { id: "name", descending: false };
const ROW_PX = 40;
const VIRTUAL_FROM_ROWS = 120;

/** `name` and `-name` in the URL. */
export function parseSort(text: string | undefined): Sort | undefined {
  if (!text) return undefined;
  return text.startsWith("-") ? { id: text.slice(1), descending: true } : { id: text, descending: false };
}

export function printSort(sort: Sort): string {
  return sort.descending ? `-${sort.id}` : sort.id;
}

export function sortRows<Row>(rows: readonly Row[], columns: readonly Column<Row>[], sort: Sort | undefined): readonly Row[] {
  const key = columns.find((c) => c.id === sort?.id)?.sort;
  if (!key || !sort) return rows;
  const compare = (a: Row, b: Row): number => {
    const x = key(a);
    const y = key(b);
    if (typeof x === "string" && typeof y === "string") return x.localeCompare(y, "en", { numeric: true });
    return x < y ? -1 : x > y ? 1 : 0;
  };
  return rows.toSorted((a, b) => (sort.descending ? compare(b, a) : compare(a, b)));
}

export function DataTable<Row>(props: DataTableProps<Row>) {
  const { rows, columns, sort, fault, label, hasMore = false, onMore, selected, onSelect, rowId } = props;
  const byServer = (id: string) => props.sortedByServer === true || (props.orders !== undefined && id in props.orders);
  const usual = props.orders && "name" in props.orders ? BY_NAME : undefined;
  const order = sort ?? usual;
  // Half a list sorted here would lie about the order of the whole. One that came whole with its first page is sorted
  // here in any case: as people count, with vm-9 before vm-10, and at once when a row changes.
  const isOnePage = !hasMore && (rows?.length ?? 0) <= PAGE_ROWS && !props.sortedByServer;
  const sortHere = order !== undefined && !hasMore && (isOnePage || !byServer(order.id));
  const shown = useMemo(() => (rows === undefined ? [] : sortHere ? sortRows(rows, columns, order) : rows), [rows, columns, order, sortHere]);
  const scroll = useRef<HTMLDivElement>(null);
  const isVirtual = shown.length > VIRTUAL_FROM_ROWS;
  const virtual = useVirtualizer({
    count: shown.length,
    getScrollElement: () => scroll.current,
    estimateSize: () => ROW_PX,
    overscan: 12,
    enabled: isVirtual,
  });
  const items = isVirtual ? virtual.getVirtualItems() : undefined;
  const from = items?.[0]?.index ?? 0;
  const to = isVirtual ? (items?.at(-1)?.index ?? 0) + 1 : shown.length;
  const padTop = items?.[0]?.start ?? 0;
  const padBottom = isVirtual ? virtual.getTotalSize() - (items?.at(-1)?.end ?? 0) : 0;
  useEffect(() => {
    if (isVirtual && hasMore && to >= shown.length - 20) onMore?.();
  }, [isVirtual, hasMore, to, shown.length, onMore]);

  if (rows === undefined) {
    if (fault) return <Refused fault={fault} onRetry={props.onRetry} />;
    return <Loading label={label} lines={5} />;
  }
  if (rows.length === 0 && !fault) return <>{props.empty}</>;
  const width = columns.length + (onSelect ? 1 : 0);
  const allPicked = shown.length > 0 && shown.every((row) => selected?.has(rowId(row)));
  return (
    <div className="q-table">
      {fault && <FaultPanel fault={fault} onRetry={props.onRetry} />}
      <div className="q-table__scroll" ref={scroll}>
        <table aria-label={label} aria-rowcount={props.total ?? rows.length}>
          <thead>
            <tr>
              {onSelect && (
                <th className="q-table__pick" scope="col">
                  <Checkbox
                    id={`${label}-all`}
                    aria-label={allPicked ? "Select none" : "Select all"}
                    isChecked={allPicked}
                    onChange={(_, on) => onSelect(new Set(on ? shown.map(rowId) : []))}
                  />
                </th>
              )}
              {columns.map((c) => (
                <Head key={c.id} column={c} sort={sort} onSort={byServer(c.id) || !hasMore ? props.onSort : undefined} />
              ))}
            </tr>
          </thead>
          <tbody>
            {padTop > 0 && <Pad height={padTop} width={width} />}
            {shown.slice(from, to).map((row) => {
              const id = rowId(row);
              return (
                <tr key={id} data-selected={selected?.has(id) || undefined}>
                  {onSelect && (
                    <td className="q-table__pick">
                      <Checkbox
                        id={`pick-${id}`}
                        aria-label={`Select ${props.rowName(row)}`}
                        isChecked={selected?.has(id) ?? false}
                        onChange={(_, on) => {
                          const next = new Set(selected);
                          if (on) next.add(id);
                          else next.delete(id);
                          onSelect(next);
                        }}
                      />
                    </td>
                  )}
                  {columns.map((c) => (
                    <td key={c.id} className={classOf(c)} style={{ width: c.width }}>
                      {c.cell(row)}
                    </td>
                  ))}
                </tr>
              );
            })}
            {padBottom > 0 && <Pad height={padBottom} width={width} />}
          </tbody>
        </table>
      </div>
      <footer className="q-table__foot">
        <span className="q-muted">
          {hasMore ? `${rows.length.toLocaleString("en")} of ${(props.total ?? 0).toLocaleString("en")} rows` : formatCount(rows.length, "row")}
          {hasMore && sort && !byServer(sort.id) ? " · sorting starts once all rows are loaded" : ""}
        </span>
        {hasMore && !isVirtual && (
          <Button variant="link" size="sm" onClick={onMore}>
            Load more
          </Button>
        )}
      </footer>
    </div>
  );
}

/** Figures end at one line, and so do actions: at the row's end. */
function classOf<Row>(column: Column<Row>): string | undefined {
  if (column.numeric) return "q-table__number";
  return column.isHeaderHidden ? "q-table__actions" : undefined;
}

function Pad({ height, width }: { height: number; width: number }) {
  return (
    <tr aria-hidden="true">
      <td colSpan={width} style={{ height, padding: 0, border: 0 }} />
    </tr>
  );
}

function Head<Row>({ column, sort, onSort }: { column: Column<Row>; sort?: Sort; onSort?: (s: Sort) => void }) {
  const active = sort?.id === column.id;
  const order = active ? (sort.descending ? "descending" : "ascending") : "none";
  const className = classOf(column);
  if (!column.sort || !onSort) {
    return (
      <th scope="col" className={className}>
        {column.isHeaderHidden ? <span className="q-hidden">{column.header}</span> : column.header}
      </th>
    );
  }
  return (
    <th scope="col" aria-sort={order} className={className}>
      <button type="button" className="q-table__sort" onClick={() => onSort({ id: column.id, descending: active && !sort.descending })}>
        {column.header}
        <span aria-hidden="true">{active ? (sort.descending ? " ↓" : " ↑") : ""}</span>
      </button>
    </th>
  );
}
