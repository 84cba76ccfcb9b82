//! Packets for property tests.

use bytes::Bytes;
use bytestring::ByteString;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

use crate::codec::*;

fn text() -> impl Strategy<Value = ByteString> {
    "[a-zA-Z0-9/äöü€😀 ]{0,20}".prop_map(ByteString::from)
}

fn topic() -> impl Strategy<Value = ByteString> {
    "[a-z/é]{1,20}".prop_map(ByteString::from)
}

fn bytes() -> impl Strategy<Value = Bytes> {
    vec(any::<u8>(), 0..40).prop_map(Bytes::from)
}

fn user() -> impl Strategy<Value = Vec<UserProperty>> {
    vec(
        (text(), text()).prop_map(|(key, value)| UserProperty { key, value }),
        0..3,
    )
}

fn code(packet: PacketType) -> impl Strategy<Value = ReasonCode> {
    any::<u8>().prop_map(ReasonCode).prop_map(move |code| {
        if code.belongs_to(packet) {
            code
        } else {
            ReasonCode::SUCCESS
        }
    })
}

prop_compose! {
    fn publish_properties()(
        payload_format in option::of(0..2u8),
        message_expiry in option::of(any::<u32>()),
        topic_alias in option::of(1..u16::MAX),
        response_topic in option::of(topic()),
        correlation in option::of(bytes()),
        subscription_ids in vec(1..268_435_455u32, 0..4),
        content_type in option::of(text()),
        user in user(),
    ) -> PublishProperties {
        PublishProperties {
            payload_format, message_expiry, topic_alias, response_topic, correlation,
            subscription_ids, content_type, user,
        }
    }
}

prop_compose! {
    pub(super) fn publish()(
        qos in 0..3u8, dup in any::<bool>(), retain in any::<bool>(), topic in topic(),
        packet_id in 1..u16::MAX, properties in publish_properties(), payload in bytes(),
    ) -> Packet {
        Packet::Publish(Publish {
            dup: dup && qos > 0, qos, retain, topic,
            packet_id: if qos > 0 { packet_id } else { 0 },
            properties,
            payload: if payload.is_empty() { Parts::new() } else { vec![payload].into() },
        })
    }
}

prop_compose! {
    fn connect()(
        clean_start in any::<bool>(), keep_alive in any::<u16>(), client_id in text(),
        session_expiry in option::of(any::<u32>()), receive_maximum in option::of(1..u16::MAX),
        request_problem_information in option::of(any::<bool>()), user in user(),
        will in option::of((0..3u8, any::<bool>(), topic(), bytes())),
        username in option::of(text()), password in option::of(bytes()),
    ) -> Packet {
        let properties = ConnectProperties {
            session_expiry, receive_maximum, request_problem_information, user,
            ..ConnectProperties::default()
        };
        let will = will.map(|(qos, retain, topic, payload)| Will {
            qos, retain, topic, payload, properties: WillProperties::default(),
        });
        Packet::Connect(Box::new(Connect {
            version: Version::V5, clean_start, keep_alive, client_id, properties, will, username,
            password,
        }))
    }
}

prop_compose! {
    fn connack()(
        session_present in any::<bool>(), reason in code(PacketType::Connack),
        receive_maximum in option::of(1..u16::MAX), maximum_qos in option::of(0..2u8),
        assigned_client_id in option::of(text()), wildcard in option::of(any::<bool>()),
        user in user(),
    ) -> Packet {
        let properties = ConnackProperties {
            receive_maximum, maximum_qos, assigned_client_id,
            wildcard_subscription_available: wildcard, user, ..ConnackProperties::default()
        };
        let session_present = session_present && !reason.is_error();
        Packet::Connack(Box::new(Connack { session_present, reason, properties }))
    }
}

fn ack(packet: PacketType) -> impl Strategy<Value = Ack> {
    (1..u16::MAX, code(packet), option::of(text()), user()).prop_map(
        |(packet_id, reason, reason_string, user)| Ack {
            packet_id,
            reason,
            properties: AckProperties {
                reason_string,
                user,
            },
        },
    )
}

prop_compose! {
    fn subscribe()(
        packet_id in 1..u16::MAX, subscription_id in option::of(1..268_435_455u32),
        filters in vec((text(), 0..3u8, any::<bool>(), any::<bool>(), 0..3u8), 1..4),
    ) -> Packet {
        let filter = |(filter, qos, no_local, retain_as_published, handling)| SubscribeFilter {
            filter, qos, no_local, retain_as_published,
            retain_handling: match handling {
                0 => RetainHandling::Send,
                1 => RetainHandling::SendIfNew,
                _ => RetainHandling::DoNotSend,
            },
        };
        Packet::Subscribe(Subscribe {
            packet_id,
            properties: SubscribeProperties { subscription_id, user: Vec::new() },
            filters: filters.into_iter().map(filter).collect(),
        })
    }
}

fn suback() -> impl Strategy<Value = Packet> {
    (ack(PacketType::Suback), vec(code(PacketType::Suback), 1..4)).prop_map(|(ack, reasons)| {
        Packet::Suback(Suback {
            packet_id: ack.packet_id,
            properties: ack.properties,
            reasons,
        })
    })
}

fn unsuback() -> impl Strategy<Value = Packet> {
    (
        ack(PacketType::Unsuback),
        vec(code(PacketType::Unsuback), 1..4),
    )
        .prop_map(|(ack, reasons)| {
            let Ack {
                packet_id,
                properties,
                ..
            } = ack;
            Packet::Unsuback(Unsuback {
                packet_id,
                properties,
                reasons,
            })
        })
}

/// Any packet that can be written.
pub(super) fn any_packet() -> impl Strategy<Value = Packet> {
    prop_oneof![
        connect(),
        connack(),
        publish(),
        publish(),
        ack(PacketType::Puback).prop_map(Packet::Puback),
        ack(PacketType::Pubrec).prop_map(Packet::Pubrec),
        ack(PacketType::Pubrel).prop_map(Packet::Pubrel),
        ack(PacketType::Pubcomp).prop_map(Packet::Pubcomp),
        subscribe(),
        suback(),
        (1..u16::MAX, vec(text(), 1..4)).prop_map(|(packet_id, filters)| {
            Packet::Unsubscribe(Unsubscribe {
                packet_id,
                filters,
                ..Unsubscribe::default()
            })
        }),
        unsuback(),
        Just(Packet::Pingreq),
        Just(Packet::Pingresp),
        (code(PacketType::Disconnect), option::of(text())).prop_map(|(reason, reason_string)| {
            let properties = DisconnectProperties {
                reason_string,
                ..Default::default()
            };
            Packet::Disconnect(Box::new(Disconnect { reason, properties }))
        }),
        (code(PacketType::Auth), option::of(bytes())).prop_map(|(reason, authentication_data)| {
            let properties = AuthProperties {
                authentication_data,
                ..Default::default()
            };
            Packet::Auth(Box::new(Auth { reason, properties }))
        }),
    ]
}
