//! The entry: messages of all ways in which devices announce themselves.

use crate::change::Change;
use crate::fault::Fault;
use crate::home_assistant::HomeAssistant;
use crate::homie::Homie;
use crate::limits::Limits;
use tidegate_streams::mqtt::topic::{TopicError, check_name};

/// The ways of announcing that are listened to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sources {
    /// The prefix of Home Assistant's discovery, usually `homeassistant`; `None`: not listened to.
    pub home_assistant: Option<String>,
    /// The domain of Homie, usually `homie`; `None`: not listened to.
    pub homie: Option<String>,
}

/// Devices that announce themselves.
///
/// ```
/// use tidegate_device_discovery::{Announcements, Limits, Sources};
///
/// let sources = Sources { home_assistant: Some("homeassistant".to_owned()), homie: None };
/// let mut announcements = Announcements::new(&sources, Limits::default())?;
/// assert_eq!(announcements.filters(), ["homeassistant/+/+/config", "homeassistant/+/+/+/config"]);
///
/// let topic = "homeassistant/switch/pump/config";
/// let change = announcements.take(topic, br#"{"cmd_t":"pump/set","stat_t":"pump","name":"Pump"}"#)?;
/// let device = &change.declared[0];
/// assert_eq!((device.id.as_str(), device.commands[0].name.as_str()), ("switch_pump", "pump_turn_on"));
///
/// let change = announcements.take(topic, b"")?;
/// assert_eq!(change.removed, ["switch_pump"]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Announcements {
    home_assistant: Option<HomeAssistant>,
    homie: Option<Homie>,
}

impl Announcements {
    /// Listens to `sources`, each with its own `limits`. Fails if a prefix or domain cannot begin a topic.
    pub fn new(sources: &Sources, limits: Limits) -> Result<Self, TopicError> {
        let checked = |text: &Option<String>| match text {
            Some(text) => check_name(text).map(|()| Some(text.clone())),
            None => Ok(None),
        };
        let (prefix, domain) = (checked(&sources.home_assistant)?, checked(&sources.homie)?);
        Ok(Self {
            home_assistant: prefix.map(|prefix| HomeAssistant::new(&prefix, limits)),
            homie: domain.map(|domain| Homie::new(&domain, limits)),
        })
    }

    /// The topic filters on which devices announce themselves. Announcements are retained.
    pub fn filters(&self) -> Vec<String> {
        let home_assistant = self.home_assistant.iter().flat_map(HomeAssistant::filters);
        let homie = self.homie.iter().flat_map(Homie::filters);
        home_assistant.chain(homie).collect()
    }

    /// Takes a message on one of the filters.
    ///
    /// An empty payload removes what was announced there. A fault changes nothing: what was known stays.
    pub fn take(&mut self, topic: &str, payload: &[u8]) -> Result<Change, Fault> {
        if let Some(home_assistant) = &mut self.home_assistant
            && home_assistant.accepts(topic)
        {
            return home_assistant.take(topic, payload);
        }
        match &mut self.homie {
            Some(homie) => homie.take(topic, payload),
            None => Err(Fault::NotAnAnnouncement),
        }
    }
}
