//! Whether a site answers as before: its pages asked by a worker as the app's user, and compared. What proves nothing is
//! not taken for a proof.

use std::time::Duration;

use crate::{
    check::Site,
    config::Settings,
    engine::error::EngineError,
    model::DeploymentId,
    observe::{Host, site_page},
    worker::{
        client::{Worker, WorkerError},
        order::{Answer, Order},
        sandbox::Reach,
    },
};

/// A page of the site.
const PAGE: Duration = Duration::from_secs(20);

/// A page: status and the body's digest.
pub(super) type Page = (Option<u16>, String);

/// Who asks the site.
pub(super) struct Looker {
    worker: Worker,
    orders: Vec<Order>,
}

impl Looker {
    /// As the app's user, who may reach the network and nothing of the app.
    pub async fn start(host: &Host, settings: &Settings, site: &Site, id: &DeploymentId) -> Result<Self, EngineError> {
        let reach = Reach { network: true, hidden: host.hidden_from(settings), ..Reach::default() };
        let worker = host.worker(settings, id, "site", &settings.user, reach).await?;
        let pages = ["/", "/up", "/no-such-page-of-deployd"];
        let order = |page| Order::Fetch { page, root: settings.root.clone() };
        let orders = pages.iter().filter_map(|path| site_page(Some(site), path)).map(order).collect();
        Ok(Self { worker, orders })
    }

    pub async fn look(&mut self) -> Result<Vec<Page>, EngineError> {
        let mut pages = Vec::new();
        for order in &self.orders {
            match self.worker.ask(order, PAGE).await? {
                Answer::Fetched { status, digest } => pages.push((status, digest)),
                other => return Err(WorkerError::unexpected(&other).into()),
            }
        }
        Ok(pages)
    }

    /// Ends its worker.
    pub async fn end(self) -> Result<(), EngineError> {
        Ok(self.worker.finish().await?)
    }
}

/// Redirects, to TLS mostly, are nginx's own, and so is no answer.
pub(super) fn proves_nothing(pages: &[Page]) -> bool {
    pages.iter().all(|(status, _)| status.is_none_or(|status| (300..400).contains(&status)))
}

/// In what the site answers otherwise. A body that differs by itself is not compared.
pub(super) fn differs(before: &[Page], again: &[Page], after: &[Page]) -> Option<String> {
    let shown = |page: &Page| page.0.map_or_else(|| "no answer".to_owned(), |status| status.to_string());
    before.iter().zip(again).zip(after).enumerate().find_map(|(index, ((before, again), after))| {
        let number = index + 1;
        match () {
            () if before.0 != after.0 => {
                Some(format!("page {number} of the site answered {} before, and {} now", shown(before), shown(after)))
            }
            () if before == again && before.1 != after.1 => {
                Some(format!("page {number} of the site answers {} as before, with another content", shown(after)))
            }
            () => None,
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn redirects_alone_prove_nothing() {
        let pages = |all: &[u16]| all.iter().map(|status| (Some(*status), String::new())).collect::<Vec<_>>();
        assert!(proves_nothing(&[]) && proves_nothing(&pages(&[301, 301])) && proves_nothing(&[(None, String::new())]));
        assert!(!proves_nothing(&pages(&[302, 200])) && !proves_nothing(&pages(&[301, 404])));
    }

    #[test]
    fn what_differs_by_itself_is_not_compared_and_all_else_is() {
        let page = |status: u16, body: &str| vec![(Some(status), body.to_owned())];
        assert_eq!(differs(&page(200, "a"), &page(200, "a"), &page(200, "a")), None);
        assert_eq!(differs(&page(200, "a"), &page(200, "b"), &page(200, "c")), None);
        assert!(differs(&page(200, "a"), &page(200, "b"), &page(502, "c")).unwrap().contains("200 before, and 502"));
        assert!(differs(&page(200, "a"), &page(200, "a"), &page(200, "b")).unwrap().contains("another content"));
    }
}
