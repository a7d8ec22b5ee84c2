//! How people may sign in: how long their sessions last. Kept as one setting, read once and after each change.

use quantix_model::{Fault, FaultCode};
use quantix_store::Store;
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::RwLock;

/// Setting that holds it, as JSON.
const SETTING: &str = "sign_in";
/// Shorter, and whoever reads a long page has to sign in again.
const IDLE_MIN: u32 = 5;
const LIFE_MIN: u32 = 15;
/// 30 days.
const MINUTES_MAX: u32 = 30 * 24 * 60;

/// All of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Settings {
    /// Counts changes.
    pub generation: u64,
    /// A session that is not used for so long ends.
    pub idle_minutes: u32,
    /// A session ends after so long, used or not.
    pub life_minutes: u32,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings { generation: 0, idle_minutes: 8 * 60, life_minutes: 24 * 60 }
    }
}

impl Settings {
    fn check(&self) -> Result<(), Fault> {
        let (idle, life) = (self.idle_minutes, self.life_minutes);
        if !(LIFE_MIN..=MINUTES_MAX).contains(&life) {
            let text = format!("A session cannot last {life} minutes.");
            return Err(Fault::invalid("life_minutes", text, "Choose from 15 minutes to 30 days (43200)."));
        }
        if !(IDLE_MIN..=life).contains(&idle) {
            let text = format!("A session cannot stay unused for {idle} minutes.");
            let remedy = "Choose from 5 minutes to as long as a session lasts.";
            return Err(Fault::invalid("idle_minutes", text, remedy));
        }
        Ok(())
    }

    /// A session that is not used for so long ends.
    pub fn idle(&self) -> Duration {
        Duration::from_secs(60 * u64::from(self.idle_minutes))
    }

    /// A session ends after so long, used or not.
    pub fn life(&self) -> Duration {
        Duration::from_secs(60 * u64::from(self.life_minutes))
    }
}

/// The settings in force.
#[derive(Debug, Default)]
pub struct InForce(RwLock<Option<Arc<Settings>>>);

impl InForce {
    /// As they stand.
    pub async fn get(&self, store: &Store) -> Result<Arc<Settings>, Fault> {
        if let Some(settings) = self.0.read().await.as_ref() {
            return Ok(settings.clone());
        }
        let mut held = self.0.write().await;
        let settings = Arc::new(match store.setting_get(SETTING).await? {
            Some(text) => serde_json::from_str(&text).map_err(Fault::internal)?,
            None => Settings::default(),
        });
        *held = Some(settings.clone());
        Ok(settings)
    }

    /// Puts others in force, when nobody did since the asker looked.
    pub async fn set(&self, store: &Store, wish: Settings) -> Result<Arc<Settings>, Fault> {
        wish.check()?;
        let there = self.get(store).await?;
        let mut held = self.0.write().await;
        let there = held.clone().unwrap_or(there);
        if wish.generation != there.generation {
            let cause = format!("you saw generation {}, they have {}", wish.generation, there.generation);
            let fault = Fault::new(
                FaultCode::Conflict,
                "The sign-in settings were changed since you looked at them.",
                "Look at what they are now, then change them again if that is still wanted.",
            );
            return Err(Fault { field: "generation".into(), ..fault.because(cause) });
        }
        let settings = Arc::new(Settings { generation: there.generation + 1, ..wish });
        store.setting_put(SETTING, &serde_json::to_string(&*settings).map_err(Fault::internal)?).await?;
        *held = Some(settings.clone());
        Ok(settings)
    }
}
