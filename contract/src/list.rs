//! The order of lists on the wire.

use crate::quantix::list::v1 as wire;
use crate::twin::{self, twins};
use quantix_model::Fault;
use quantix_model::list::{Order, SortBy};

twins!(SortBy => wire::SortBy, "order.by" {
    Name = SORT_BY_NAME,
    Created = SORT_BY_CREATED,
    Size = SORT_BY_SIZE,
    Vcpus = SORT_BY_VCPUS,
    Memory = SORT_BY_MEMORY,
    Urgency = SORT_BY_URGENCY,
});

impl TryFrom<&wire::Order> for Order {
    type Error = Fault;
    fn try_from(order: &wire::Order) -> Result<Order, Fault> {
        Ok(Order { by: twin::read("order.by", order.by)?, descending: order.descending })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables() {
        crate::twin::check_table::<SortBy>();
    }

    #[test]
    fn an_order_says_by_what() {
        let wanted = wire::Order { by: twin::write(SortBy::Size), descending: true, ..Default::default() };
        assert_eq!(Order::try_from(&wanted), Ok(Order { by: SortBy::Size, descending: true }));
        assert_eq!(Order::try_from(&wire::Order::default()).expect_err("unsaid").field, "order.by");
    }
}
