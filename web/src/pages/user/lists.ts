// Lists of people; not among the lists that every page may need at once.
import { useList, asked, UNTOLD, type Wish } from "../../api/lists";
import { SortBy } from "../../api/gen/quantix/list/v1/list_pb";
import { UserService, type ListUsersResponse } from "../../api/gen/quantix/user/v1/user_pb";

export const USER_ORDERS = { name: SortBy.NAME, created: SortBy.CREATED };
const pickUsers = (a: ListUsersResponse) => a.users;

export const useUsers = (wish: Wish = {}) => useList(UserService.method.listUsers, asked(USER_ORDERS, wish), pickUsers, wish.enabled, wish.keep, UNTOLD);
