"""What a chat model says before a translation: "Here is the translation:", "Sure, ...:"."""

import re

from xinstruct_utils.core.languages import ENGLISH, LANGUAGES

# How a text begins, up to a colon in its line; a source may be longer than its translation.
LEAD, SOURCE_LEAD = (re.compile(rf"[^\n:：]{{1,{longest}}}[:：]") for longest in (100, 200))
# "Translation" and "translate" in English and the ten languages, as a preface has them.
TRANSLATION = re.compile(
    r"translat|käänn(?:ös|ä)|suomen(?:nos|nettuna)|terjemah|คำแปล|การแปล|แปล(?:เป็น|ว่า|ข้อความ)"
    r"|çevir|tercüme|bản dịch|dịch (?:sang|văn|câu|đoạn)|অনুবাদ|अनुवाद|tafsiri|மொழிபெயர்"
    r"|ترجم", re.I)
# "Sure" and "here is", as who was asked to translate begins. Replies begin so too, and so do their
# translations: in other languages than English, it takes the name of a language beside it.
OPENING = re.compile(
    r"\W*(?:sure|certainly|of course|okay|absolutely|gladly|here(?:'s|’s| is| are| you)\b"
    r"|below is)", re.I)
NATIVE_OPENING = re.compile(
    r"\W*(?:toki|totta kai|tässä|tentu|baik|berikut|แน่นอน|ได้เลย|นี่คือ|tabii|elbette|işte"
    r"|chắc chắn|tất nhiên|dưới đây là|đây là|অবশ্যই|নিশ্চয়ই|এখানে|ज़रूर|जरूर|बेशक|यहाँ|यहां"
    r"|hakika|bila shaka|hii hapa|hapa kuna|நிச்சயமாக|இதோ|ضرور|یقیناً|یہ رہا|یہاں)", re.I)
NAMES = "|".join(re.escape(name) for row in (ENGLISH, *LANGUAGES.values())
                 for name in (row.name, row.native_name))
NAMED = re.compile(rf"\W*(?:in |the )?(?:{NAMES})(?: (?:text|version))?\W*[:：]", re.I)
NAME = re.compile(NAMES, re.I)


def has_preface(text: str, translation: str) -> bool:
    """Whether a translation of `text` begins with words that its source has no counterpart of.

    A source that itself begins with a lead ("Sure, here is a poem:") may have it in its
    translation; one that speaks of translating may have that there.
    """
    lead, source_lead = LEAD.match(translation.strip()), SOURCE_LEAD.match(text.strip())
    if not lead:
        return False
    if TRANSLATION.search(lead[0]):
        return not (source_lead and TRANSLATION.search(source_lead[0]))
    if source_lead:
        return False
    native = NATIVE_OPENING.match(lead[0]) and NAME.search(lead[0])
    return bool(native or OPENING.match(lead[0]) or NAMED.fullmatch(lead[0]))
