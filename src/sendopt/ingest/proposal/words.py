"""Names that logs give to their columns and events, in several languages."""

from __future__ import annotations

import re
import unicodedata
from functools import cache


def _list(text: str) -> tuple[str, ...]:
    return tuple(text.split())


# Best names first: of two columns that fit a role, the one whose name stands earlier is taken.
ROLES: dict[str, tuple[str, ...]] = {
    "user_id": _list("""
        user_id userid user uid customer_id customerid customer kunde kunden_id kundennummer kunden_nr kundennr kd_nr
        client_id client cliente recipient_id recipient empfanger empfaenger subscriber_id subscriber_key subscriber
        abonnent contact_id contact kontakt member_id member mitglied person_id person profile_id profile player_id
        account_id external_user_id external_id utilisateur usuario id_usuario destinataire email_address email e_mail
        emailadresse email_adresse mail mailadresse courriel correo phone telefon msisdn device_id player who"""),
    "notification_id": _list("""
        notification_id message_id messageid msg_id push_id delivery_id send_id sendung versand_id versandid
        nachricht_id nachrichten_id mail_id email_id sms_id dispatch_id id_mensaje uuid id"""),
    "campaign_id": _list("""
        campaign_id campaign campaign_name campaignid kampagne kampagnen_id kampagnenname campagne campana mailing
        mailing_name newsletter newsletter_name broadcast_id broadcast journey flow template_id template template_name
        message_name subject betreff title titel objet asunto creative aktion"""),
    "category": _list("category kategorie categorie categoria topic thema tag rubrik message_type"),
    "channel": _list("channel kanal canal medium channel_name message_channel object_type type typ"),
    "sent_at_utc": _list("""
        sent_at sent_at_utc sent_time send_time sent_on sent_date send_date send_at delivered_at versendet_am
        gesendet_am versandzeitpunkt versandzeit versanddatum versendet gesendet envoye_le date_envoi enviado_el
        fecha_envio sent timestamp event_time event_timestamp event_at occurred_at time datetime date_time zeitpunkt
        zeitstempel zeit created_at createdat at ts datum date fecha day"""),
    "hour": _list("uhrzeit time hour sent_hour send_hour stunde heure hora zeit time_of_day"),
    "timezone": tuple(_list("timezone tz time_zone zeitzone user_timezone user_tz fuseau zona_horaria iana_zone zone")),
    "pscore": _list("pscore propensity probability prob send_probability wahrscheinlichkeit"),
    "open": _list("""
        opened open is_opened is_open was_opened opens open_count n_opens num_opens total_opens unique_opens
        offnungen oeffnungen geoffnet geoeffnet gelesen read ouvert ouvertures lu abierto aberto aperto tapped
        opened_at open_at open_time first_open first_opened first_opened_at geoffnet_am geoeffnet_am gelesen_am
        read_at tapped_at"""),
    "click": _list("""
        clicked click is_clicked clicks click_count n_clicks total_clicks unique_clicks geklickt klick klicks clic
        clics cliques clicked_at click_at click_time geklickt_am"""),
    "goal": _list("""
        converted conversion purchased purchase bought gekauft goal success erfolg outcome ergebnis response
        converted_at purchased_at reward"""),
    "opt_out": _list("""
        unsubscribed unsubscribe unsubscribed_at unsubscribe_at opted_out opt_out optout abgemeldet abgemeldet_am
        abmeldung desabonne desinscrit baja complained complaint spam
        spam_report spam_complaint"""),
    "sent": _list("sent delivered is_sent was_sent zugestellt gesendet versendet"),
    "available": _list("available is_available reachable verfugbar erreichbar eligible"),
    "bounced": _list("bounced bounce is_bounced bounces hard_bounce failed"),
    "event": _list("""
        event event_type event_name eventname eventtype event_kind kind metric action activity ereignis aktion evento
        status statut delivery_status zustellstatus type typ"""),
}
_EVENTS: tuple[tuple[str, frozenset[str]], ...] = (
    (
        "opt_out",
        frozenset(
            _list("""
        unsubscribe unsubscribed unsub spamreport spam complaint complained optout abgemeldet abmeldung
            desabonne uninstall""")
        ),
    ),
    (
        "failed",
        frozenset(
            _list("""
        bounce bounced hardbounced softbounced dropped drop failed failure fail rejected suppressed undelivered
            undeliverable skip skipped error unzustellbar fehlgeschlagen rebote""")
        ),
    ),
    ("click", frozenset(_list("click clicked clicks geklickt klick clic"))),
    (
        "open",
        frozenset(_list("open opened opens geoffnet geoeffnet offnung read gelesen viewed tapped ouvert abierto")),
    ),
    ("dismiss", frozenset(_list("dismiss dismissed"))),
    ("goal", frozenset(_list("converted conversion purchase purchased kauf gekauft"))),
    ("sent", frozenset(_list("sent send gesendet versendet envoye enviado"))),
    ("delivered", frozenset(_list("delivered delivery zugestellt receive received entregado livre"))),
)
_CHANNELS = {
    "push": ("push", "notification", "app", "mobile", "ios", "android"),
    "email": ("email", "mail", "newsletter", "mailing"),
    "sms": ("sms", "text"),
    "whatsapp": ("whatsapp",),
    "in_app": ("inapp", "iam"),
}
NEGATIONS = ("no", "not", "non", "nicht", "nein", "kein", "keine", "un", "never", "nie", "sin", "pas", "without", "-")
# Languages spoken mostly in one zone, with words of them in a header or in values.
LANGUAGES: dict[str, tuple[str, tuple[str, ...]]] = {
    "German": (
        "Europe/Berlin",
        _list("""
        ja nein kunde kundennr kundennummer kunden_id versendet versendet_am gesendet gesendet_am geoffnet geoeffnet
        datum uhrzeit betreff kampagne zeitpunkt empfanger empfaenger kanal gelesen abgemeldet"""),
    ),
    "French": ("Europe/Paris", _list("oui destinataire envoye_le date_envoi ouvert objet courriel canal campagne")),
    "Italian": ("Europe/Rome", _list("aperto destinatario inviato inviato_il oggetto data_invio")),
    "Polish": ("Europe/Warsaw", _list("tak nie odbiorca wyslano otwarto temat")),
}


@cache
def normal(name: str) -> str:
    """Return a name in plain lower case with _ between its words.

    >>> {normal(name) for name in ("userId", "User ID", "user-id")}
    {'user_id'}
    """
    plain = unicodedata.normalize("NFKD", name.replace("ß", "ss")).encode("ascii", "ignore").decode()
    parted = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", plain)
    return re.sub(r"[^a-z0-9]+", "_", parted.lower()).strip("_")


def rank(role: str, column: str) -> int:
    """Return how well a column's name fits a role, 0 for not at all: whole names before names with more words."""
    words, last = ROLES[role], column.rsplit(".", 1)[-1]
    names = (normal(column), normal(last if last != "0" else column.removesuffix(".0")))
    for place, word in enumerate(words):
        if word in names:
            return 1000 - place
    for place, word in enumerate(words):
        if len(word) > 3 and any(n.startswith(f"{word}_") or n.endswith(f"_{word}") for n in names):
            return 500 - place
    return 0


@cache
def event_of(value: str) -> str | None:
    """Return the event that a value names: sent, delivered, failed, open, click, goal, dismiss or opt_out; else None.

    >>> [event_of(v) for v in ("emailSend", "message.push.clicked", "Zugestellt", "group_unsubscribe", "login")]
    ['sent', 'click', 'delivered', 'opt_out', None]
    """
    words = set(normal(value).split("_"))
    return next((event for event, known in _EVENTS if words & known), None)


@cache
def channel_of(text: str) -> str | None:
    """Return the channel that a text names, as sendopt spells it; None where it names none."""
    words = set(normal(text).replace("e_mail", "email").replace("in_app", "inapp").split("_"))
    return next((channel for channel, known in _CHANNELS.items() if words & set(known)), None)


def is_negated(word: str) -> bool:
    """Return True for a word that says no, like `not opened`."""
    parts = normal(word).split("_")
    return word.strip() == "-" or parts[0] in NEGATIONS or word.lower().startswith(("un", "nicht", "non"))
