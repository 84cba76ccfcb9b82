//! One device of the registry: its id, what the config says about it, and its topics.

use std::borrow::Cow;
use std::cell::Cell;
use std::rc::Rc;

use bytestring::ByteString;
use smallvec::SmallVec;
use tidegate_device::{AvailabilityTopic, Labels, Mentions, Property, Source, Text};
use tidegate_engine::Time;

use crate::address;
use crate::model::Model;
use crate::options::DeviceOptions;
use crate::registry::DeviceId;
use crate::slot::SlotId;

/// A device.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) id: ByteString,
    pub(crate) model: Rc<Model>,
    pub(crate) location: Option<Box<str>>,
    about: Option<Box<About>>,
    pub(crate) source: Source,
    /// When its last message was received.
    pub(crate) seen: Option<Time>,
    pub(crate) online: Cell<Online>,
    /// Its index in the registry.
    pub(crate) device: DeviceId,
    /// Its topics, of the properties and then of the availability.
    pub(crate) slots: SmallVec<[SlotId; 4]>,
}

/// What the config says about a device.
#[derive(Debug)]
struct About {
    name: Option<Text>,
    description: Option<Text>,
    labels: Labels,
}

/// Whether a device is online.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Online {
    /// The last message about it was not read yet.
    NotRead,
    /// What it says; `None`: nothing.
    Read(Option<bool>),
}

/// What a topic is to a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    /// A property, by index.
    Property(u16),
    /// An availability topic, by index.
    Availability(u16),
}

impl Part {
    /// A property, by index.
    pub(crate) fn property(index: usize) -> Self {
        Self::Property(u16::try_from(index).unwrap_or(u16::MAX))
    }

    /// An availability topic, by index.
    pub(crate) fn availability(index: usize) -> Self {
        Self::Availability(u16::try_from(index).unwrap_or(u16::MAX))
    }
}

impl Entry {
    pub(crate) fn configured(id: &str, options: &DeviceOptions, model: &Rc<Model>) -> Self {
        let labels = options.labels.iter();
        Self {
            id: id.into(),
            model: Rc::clone(model),
            location: options.location.as_deref().map(Box::from),
            about: Some(Box::new(About {
                name: options.name.as_deref().map(Text::new),
                description: options.description.as_deref().map(Text::new),
                labels: labels
                    .map(|(name, text)| (name.as_str().into(), Text::new(text)))
                    .collect(),
            })),
            source: Source::Config,
            seen: None,
            online: Cell::new(Online::NotRead),
            device: DeviceId::MAX,
            slots: SmallVec::new(),
        }
    }

    pub(crate) fn seen(parts: &address::Parts<'_>, model: &Rc<Model>) -> Self {
        Self {
            id: parts.device.into(),
            model: Rc::clone(model),
            location: parts.location.map(Box::from),
            about: None,
            source: Source::Seen,
            seen: None,
            online: Cell::new(Online::NotRead),
            device: DeviceId::MAX,
            slots: SmallVec::new(),
        }
    }

    pub(crate) fn declared(model: Rc<Model>) -> Self {
        let device = &model.device;
        Self {
            id: device.id.as_str().into(),
            location: device.location.as_ref().map(|it| it.as_str().into()),
            about: None,
            source: device.source,
            seen: None,
            online: Cell::new(Online::NotRead),
            device: DeviceId::MAX,
            slots: SmallVec::new(),
            model,
        }
    }

    /// What people call it.
    pub(crate) fn name(&self) -> Option<&Text> {
        let about = self.about.as_ref();
        about.map_or(self.model.device.name.as_ref(), |about| about.name.as_ref())
    }

    /// What it is for: its own description, or else that of its type.
    pub(crate) fn description(&self) -> Option<&Text> {
        let own = self
            .about
            .as_ref()
            .and_then(|about| about.description.as_ref());
        own.or(self.model.device.description.as_ref())
    }

    pub(crate) fn labels(&self) -> &Labels {
        let about = self.about.as_ref();
        about.map_or(&self.model.device.labels, |about| &about.labels)
    }

    /// Whether it declared itself.
    pub(crate) const fn is_declared(&self) -> bool {
        matches!(self.source, Source::HomeAssistant | Source::Homie)
    }

    /// How it declared itself, as a word.
    pub(crate) const fn declared_by(&self) -> Option<&'static str> {
        match self.source {
            Source::Config | Source::Seen => None,
            Source::HomeAssistant => Some("homeAssistant"),
            Source::Homie => Some("homie"),
        }
    }

    /// Fills a topic of the model. The topics of a device that declares itself are complete.
    pub(crate) fn topic<'a>(&self, topic: &'a str) -> Cow<'a, str> {
        if self.is_declared() {
            Cow::Borrowed(topic)
        } else {
            Cow::Owned(self.filled(topic))
        }
    }

    /// Fills a topic of the config.
    pub(crate) fn filled(&self, topic: &str) -> String {
        let location = self.location.as_deref().unwrap_or_default();
        address::filled(topic, location, &self.id)
    }

    /// The topics of its values.
    pub(crate) fn topics(&self) -> impl Iterator<Item = (Cow<'_, str>, Part)> {
        let device = &self.model.device;
        let properties = device.properties.iter().enumerate();
        let properties = properties.map(|(index, it)| (&it.topic, Part::property(index)));
        let availability = device.availability.iter().flat_map(|it| &it.topics);
        let availability = availability.enumerate();
        let availability = availability.map(|(index, it)| (&it.topic, Part::availability(index)));
        properties
            .chain(availability)
            .map(|(topic, part)| (self.topic(topic), part))
    }

    /// The topic of a part.
    pub(crate) fn slot(&self, part: Part) -> Option<SlotId> {
        let index = match part {
            Part::Property(index) => usize::from(index),
            Part::Availability(index) => self.model.device.properties.len() + usize::from(index),
        };
        self.slots.get(index).copied()
    }

    fn property(&self, index: u16) -> Option<&Property> {
        self.model.device.properties.get(usize::from(index))
    }

    fn availability(&self, index: u16) -> Option<&AvailabilityTopic> {
        let availability = self.model.device.availability.as_ref()?;
        availability.topics.get(usize::from(index))
    }

    /// Whether a message on its topic may say nothing about a part.
    pub(crate) fn may_be_absent(&self, part: Part) -> bool {
        match part {
            Part::Property(index) => self.property(index).is_some_and(Property::may_be_absent),
            Part::Availability(index) => self
                .availability(index)
                .is_some_and(AvailabilityTopic::may_be_absent),
        }
    }

    /// Whether a message says something about a part.
    pub(crate) fn is_mentioned(&self, part: Part, mentions: &mut Mentions<'_>) -> bool {
        match part {
            Part::Property(index) => self.property(index).is_none_or(|it| mentions.property(it)),
            Part::Availability(index) => self
                .availability(index)
                .is_none_or(|it| mentions.availability(it)),
        }
    }
}
