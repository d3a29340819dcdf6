"""The scan enricher `user_agent`, with User-Agents as phones, apps and programs send them."""

from __future__ import annotations

from datetime import UTC, datetime
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.api import Device, Traits, Visit
from plugins.enrichers import user_agent
from plugins.enrichers.user_agent import UserAgentEnricher

ENRICHER = UserAgentEnricher()

PEOPLE = [
    (
        (
            "Mozilla/5.0 (iPhone; CPU iPhone OS 17_5_1 like Mac OS X) AppleWebKit/605.1.15 "
            "(KHTML, like Gecko) Version/17.5 Mobile/15E148 Safari/604.1"
        ),
        "mobile",
        "iOS",
        "Safari",
    ),
    (
        (
            "Mozilla/5.0 (iPhone; CPU iPhone OS 18_6 like Mac OS X) AppleWebKit/605.1.15 "
            "(KHTML, like Gecko) Version/26.0 Mobile/15E148 Safari/604.1"
        ),
        "mobile",
        "iOS",
        "Safari",
    ),
    (
        (
            "Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X) AppleWebKit/605.1.15 "
            "(KHTML, like Gecko) CriOS/125.0.6422.80 Mobile/15E148 Safari/604.1"
        ),
        "mobile",
        "iOS",
        "Chrome",
    ),
    (
        (
            "Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X) AppleWebKit/605.1.15 "
            "(KHTML, like Gecko) FxiOS/126.0 Mobile/15E148 Safari/605.1.15"
        ),
        "mobile",
        "iOS",
        "Firefox",
    ),
    (
        (
            "Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X) AppleWebKit/605.1.15 "
            "(KHTML, like Gecko) Version/17.0 EdgiOS/125.0.2535.60 Mobile/15E148 "
            "Safari/605.1.15"
        ),
        "mobile",
        "iOS",
        "Edge",
    ),
    (
        (
            "Mozilla/5.0 (iPhone; CPU iPhone OS 17_4 like Mac OS X) AppleWebKit/605.1.15 "
            "(KHTML, like Gecko) GSA/317.0.634488990 Mobile/15E148 Safari/604.1"
        ),
        "mobile",
        "iOS",
        "Google app",
    ),
    (
        (
            "Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X) AppleWebKit/605.1.15 "
            "(KHTML, like Gecko) Version/17.5 Mobile/15E148 Safari/604.1 OPT/4.7.0"
        ),
        "mobile",
        "iOS",
        "Opera",
    ),
    (
        (
            "Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X) AppleWebKit/605.1.15 "
            "(KHTML, like Gecko) Version/17.5 Mobile/15E148 DuckDuckGo/7 Safari/605.1.15"
        ),
        "mobile",
        "iOS",
        "DuckDuckGo",
    ),
    (
        (
            "Mozilla/5.0 (iPhone; CPU iPhone OS 17_5_1 like Mac OS X) AppleWebKit/605.1.15 "
            "(KHTML, like Gecko) Mobile/15E148"
        ),
        "mobile",
        "iOS",
        "iOS WebView",
    ),
    (
        (
            "Mozilla/5.0 (iPhone; CPU iPhone OS 17_5_1 like Mac OS X) AppleWebKit/605.1.15 "
            "(KHTML, like Gecko) Mobile/21F90 Instagram 334.0.0.31.111 (iPhone15,2; iOS "
            "17_5_1; de_DE; de; scale=3.00; 1179x2556; 604417363)"
        ),
        "mobile",
        "iOS",
        "Instagram",
    ),
    (
        (
            "Mozilla/5.0 (iPhone; CPU iPhone OS 17_4_1 like Mac OS X) AppleWebKit/605.1.15 "
            "(KHTML, like Gecko) Mobile/21E236 "
            "[FBAN/FBIOS;FBAV/466.0.0.35.105;FBBV/598862430;FBDV/iPhone14,5;FBMD/iPhone;FBS"
            "N/iOS;FBSV/17.4.1;FBSS/3;FBID/phone;FBLC/en_GB;FBOP/5;FBRV/602312345]"
        ),
        "mobile",
        "iOS",
        "Facebook",
    ),
    (
        (
            "Mozilla/5.0 (iPhone; CPU iPhone OS 17_4_1 like Mac OS X) AppleWebKit/605.1.15 "
            "(KHTML, like Gecko) Mobile/21E236 "
            "[FBAN/MessengerForiOS;FBAV/456.0.0.29.108;FBBV/590000000;FBDV/iPhone14,5;FBMD/"
            "iPhone;FBSN/iOS;FBSV/17.4.1;FBSS/3;FBCR/;FBID/phone;FBLC/en_US;FBOP/0]"
        ),
        "mobile",
        "iOS",
        "Messenger",
    ),
    (
        (
            "Mozilla/5.0 (iPhone; CPU iPhone OS 17_3_1 like Mac OS X) AppleWebKit/605.1.15 "
            "(KHTML, like Gecko) Mobile/15E148 MicroMessenger/8.0.47(0x18002f2c) "
            "NetType/WIFI Language/zh_CN"
        ),
        "mobile",
        "iOS",
        "WeChat",
    ),
    (
        (
            "Mozilla/5.0 (iPhone; CPU iPhone OS 17_4_1 like Mac OS X) AppleWebKit/605.1.15 "
            "(KHTML, like Gecko) Mobile/15E148 Safari Line/14.5.1"
        ),
        "mobile",
        "iOS",
        "LINE",
    ),
    (
        (
            "Mozilla/5.0 (iPhone; CPU iPhone OS 17_4_1 like Mac OS X) AppleWebKit/605.1.15 "
            "(KHTML, like Gecko) Mobile/21E236 musical_ly_34.3.0 JsSdk/2.0 NetType/WIFI "
            "Channel/App Store ByteLocale/en Region/GB FalconTag/ABC"
        ),
        "mobile",
        "iOS",
        "TikTok",
    ),
    (
        (
            "Mozilla/5.0 (iPhone; CPU iPhone OS 17_5_1 like Mac OS X) AppleWebKit/605.1.15 "
            "(KHTML, like Gecko) Mobile/15E148 [Pinterest/iOS]"
        ),
        "mobile",
        "iOS",
        "Pinterest",
    ),
    (
        (
            "Mozilla/5.0 (iPhone; CPU iPhone OS 17_5_1 like Mac OS X) AppleWebKit/605.1.15 "
            "(KHTML, like Gecko) Mobile/15E148 Snapchat/12.90.0.36 (like "
            "Safari/8618.2.12.10.9, panda)"
        ),
        "mobile",
        "iOS",
        "Snapchat",
    ),
    (
        (
            "Mozilla/5.0 (iPhone; CPU iPhone OS 17_4_1 like Mac OS X) AppleWebKit/605.1.15 "
            "(KHTML, like Gecko) Mobile/15E148 [LinkedInApp]/9.29.5345"
        ),
        "mobile",
        "iOS",
        "LinkedIn",
    ),
    (
        (
            "Mozilla/5.0 (iPhone; CPU iPhone OS 17_4 like Mac OS X) AppleWebKit/605.1.15 "
            "(KHTML, like Gecko) Mobile/15E148 Twitter for iPhone/10.34"
        ),
        "mobile",
        "iOS",
        "X",
    ),
    (
        (
            "Mozilla/5.0 (iPhone; CPU iPhone OS 17_4_1 like Mac OS X) AppleWebKit/605.1.15 "
            "(KHTML, like Gecko) Mobile/15E148 KAKAOTALK 10.7.5"
        ),
        "mobile",
        "iOS",
        "KakaoTalk",
    ),
    (
        (
            "Mozilla/5.0 (iPad; CPU OS 12_5_7 like Mac OS X) AppleWebKit/605.1.15 (KHTML, "
            "like Gecko) Version/12.1.2 Mobile/15E148 Safari/604.1"
        ),
        "tablet",
        "iOS",
        "Safari",
    ),
    (
        (
            "Mozilla/5.0 (iPad; CPU OS 17_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, "
            "like Gecko) CriOS/125.0.6422.80 Mobile/15E148 Safari/604.1"
        ),
        "tablet",
        "iOS",
        "Chrome",
    ),
    (
        (
            "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, "
            "like Gecko) Version/17.5 Safari/605.1.15"
        ),
        "desktop",
        "macOS",
        "Safari",
    ),
    (
        (
            "Mozilla/5.0 (iPod touch; CPU iPhone OS 12_5_7 like Mac OS X) "
            "AppleWebKit/605.1.15 (KHTML, like Gecko) Version/12.1.2 Mobile/15E148 "
            "Safari/604.1"
        ),
        "mobile",
        "iOS",
        "Safari",
    ),
    (
        (
            "Mozilla/5.0 (Linux; Android 10; K) AppleWebKit/537.36 (KHTML, like Gecko) "
            "Chrome/125.0.0.0 Mobile Safari/537.36"
        ),
        "mobile",
        "Android",
        "Chrome",
    ),
    (
        (
            "Mozilla/5.0 (Linux; Android 14; Pixel 8 Pro) AppleWebKit/537.36 (KHTML, like "
            "Gecko) Chrome/125.0.6422.113 Mobile Safari/537.36"
        ),
        "mobile",
        "Android",
        "Chrome",
    ),
    (
        (
            "Mozilla/5.0 (Linux; Android 10; K) AppleWebKit/537.36 (KHTML, like Gecko) "
            "Chrome/125.0.0.0 Safari/537.36"
        ),
        "tablet",
        "Android",
        "Chrome",
    ),
    (
        (
            "Mozilla/5.0 (Linux; Android 13; SM-X700) AppleWebKit/537.36 (KHTML, like "
            "Gecko) Chrome/124.0.6367.179 Safari/537.36"
        ),
        "tablet",
        "Android",
        "Chrome",
    ),
    (
        (
            "Mozilla/5.0 (Linux; Android 14; SAMSUNG SM-S918B) AppleWebKit/537.36 (KHTML, "
            "like Gecko) SamsungBrowser/25.0 Chrome/121.0.0.0 Mobile Safari/537.36"
        ),
        "mobile",
        "Android",
        "Samsung Internet",
    ),
    (
        (
            "Mozilla/5.0 (Linux; Android 10; K) AppleWebKit/537.36 (KHTML, like Gecko) "
            "SamsungBrowser/25.0 Chrome/121.0.0.0 Safari/537.36"
        ),
        "tablet",
        "Android",
        "Samsung Internet",
    ),
    (
        "Mozilla/5.0 (Android 14; Mobile; rv:126.0) Gecko/126.0 Firefox/126.0",
        "mobile",
        "Android",
        "Firefox",
    ),
    (
        "Mozilla/5.0 (Android 13; Tablet; rv:126.0) Gecko/126.0 Firefox/126.0",
        "tablet",
        "Android",
        "Firefox",
    ),
    (
        (
            "Mozilla/5.0 (Linux; Android 10; K) AppleWebKit/537.36 (KHTML, like Gecko) "
            "Chrome/125.0.0.0 Mobile Safari/537.36 EdgA/124.0.2478.104"
        ),
        "mobile",
        "Android",
        "Edge",
    ),
    (
        (
            "Mozilla/5.0 (Linux; Android 10; K) AppleWebKit/537.36 (KHTML, like Gecko) "
            "Chrome/124.0.0.0 Mobile Safari/537.36 OPR/82.0.0.0"
        ),
        "mobile",
        "Android",
        "Opera",
    ),
    (
        "Opera/9.80 (Android; Opera Mini/36.2.2254/119.132; U; id) Presto/2.12.423 Version/12.16",
        "mobile",
        "Android",
        "Opera Mini",
    ),
    (
        (
            "Mozilla/5.0 (Linux; Android 12; HarmonyOS; NOH-AN00; HMSCore 6.13.0.302) "
            "AppleWebKit/537.36 (KHTML, like Gecko) Chrome/99.0.4844.88 "
            "HuaweiBrowser/14.0.5.303 Mobile Safari/537.36"
        ),
        "mobile",
        "HarmonyOS",
        "Huawei Browser",
    ),
    (
        (
            "Mozilla/5.0 (Linux; Android 10; ELE-L29; HMSCore 6.13.0.321) "
            "AppleWebKit/537.36 (KHTML, like Gecko) Chrome/114.0.5735.196 "
            "HuaweiBrowser/14.0.6.300 Mobile Safari/537.36"
        ),
        "mobile",
        "Android",
        "Huawei Browser",
    ),
    (
        (
            "Mozilla/5.0 (Phone; OpenHarmony 5.0) AppleWebKit/537.36 (KHTML, like Gecko) "
            "Chrome/114.0.0.0 Safari/537.36 ArkWeb/4.1.6.1 Mobile HuaweiBrowser/5.0.4.300"
        ),
        "mobile",
        "HarmonyOS",
        "Huawei Browser",
    ),
    (
        (
            "Mozilla/5.0 (Linux; U; Android 13; zh-cn; 2211133C Build/TKQ1.220905.001) "
            "AppleWebKit/537.36 (KHTML, like Gecko) Version/4.0 Chrome/109.0.5414.118 "
            "Mobile Safari/537.36 XiaoMi/MiuiBrowser/18.2.150419"
        ),
        "mobile",
        "Android",
        "Mi Browser",
    ),
    (
        (
            "Mozilla/5.0 (Linux; U; Android 12; en-US; RMX3085 Build/SP1A.210812.016) "
            "AppleWebKit/537.36 (KHTML, like Gecko) Version/4.0 Chrome/100.0.4896.58 "
            "UCBrowser/13.7.0.1322 Mobile Safari/537.36"
        ),
        "mobile",
        "Android",
        "UC Browser",
    ),
    (
        (
            "Mozilla/5.0 (Linux; U; Android 13; zh-cn; PGT-AN00 Build/HONORPGT-AN00) "
            "AppleWebKit/537.36 (KHTML, like Gecko) Version/4.0 Chrome/109.0.5414.86 "
            "MQQBrowser/14.8 Mobile Safari/537.36 COVC/046715"
        ),
        "mobile",
        "Android",
        "QQ Browser",
    ),
    (
        (
            "Mozilla/5.0 (Linux; Android 13; V2227A; wv) AppleWebKit/537.36 (KHTML, like "
            "Gecko) Version/4.0 Chrome/101.0.4951.74 Mobile Safari/537.36 "
            "VivoBrowser/18.6.0.0"
        ),
        "mobile",
        "Android",
        "Vivo Browser",
    ),
    (
        (
            "Mozilla/5.0 (Linux; U; Android 13; zh-cn; PHB110 Build/SKQ1) "
            "AppleWebKit/537.36 (KHTML, like Gecko) Version/4.0 Chrome/107.0.5304.141 "
            "Mobile Safari/537.36 HeyTapBrowser/40.8.18.1"
        ),
        "mobile",
        "Android",
        "HeyTap Browser",
    ),
    (
        (
            "Mozilla/5.0 (Linux; Android 14; SM-A546B Build/UP1A.231005.007; wv) "
            "AppleWebKit/537.36 (KHTML, like Gecko) Version/4.0 Chrome/125.0.6422.113 "
            "Mobile Safari/537.36"
        ),
        "mobile",
        "Android",
        "Android WebView",
    ),
    (
        (
            "Mozilla/5.0 (Linux; Android 14; Pixel 7 Build/UQ1A.240205.002; wv) "
            "AppleWebKit/537.36 (KHTML, like Gecko) Version/4.0 Chrome/125.0.6422.53 "
            "Mobile Safari/537.36 Instagram 332.0.0.38.90 Android (34/14; 420dpi; "
            "1080x2204; Google/google; Pixel 7; panther; panther; de_DE; 599102324)"
        ),
        "mobile",
        "Android",
        "Instagram",
    ),
    (
        (
            "Mozilla/5.0 (Linux; Android 13; SM-G991B Build/TP1A.220624.014; wv) "
            "AppleWebKit/537.36 (KHTML, like Gecko) Version/4.0 Chrome/124.0.6367.179 "
            "Mobile Safari/537.36 [FB_IAB/FB4A;FBAV/465.0.0.55.89;]"
        ),
        "mobile",
        "Android",
        "Facebook",
    ),
    (
        (
            "Mozilla/5.0 (Linux; Android 13; SM-G991B Build/TP1A.220624.014; wv) "
            "AppleWebKit/537.36 (KHTML, like Gecko) Version/4.0 Chrome/124.0.6367.179 "
            "Mobile Safari/537.36 [FB_IAB/Orca-Android;FBAV/458.0.0.54.108;]"
        ),
        "mobile",
        "Android",
        "Messenger",
    ),
    (
        (
            "Mozilla/5.0 (Linux; Android 14; 23127PN0CC Build/UKQ1.230804.001; wv) "
            "AppleWebKit/537.36 (KHTML, like Gecko) Version/4.0 Chrome/116.0.0.0 Mobile "
            "Safari/537.36 XWEB/1160117 MMWEBSDK/20240404 MMWEBID/2345 "
            "MicroMessenger/8.0.49.2600(0x28003133) WeChat/arm64 Weixin NetType/WIFI "
            "Language/zh_CN ABI/arm64"
        ),
        "mobile",
        "Android",
        "WeChat",
    ),
    (
        (
            "Mozilla/5.0 (Linux; Android 14; SO-51C Build/64.2.A.2.185; wv) "
            "AppleWebKit/537.36 (KHTML, like Gecko) Version/4.0 Chrome/125.0.6422.113 "
            "Mobile Safari/537.36 Line/14.8.0/IAB"
        ),
        "mobile",
        "Android",
        "LINE",
    ),
    (
        (
            "Mozilla/5.0 (Linux; Android 13; SM-A536E Build/TP1A.220624.014; wv) "
            "AppleWebKit/537.36 (KHTML, like Gecko) Version/4.0 Chrome/124.0.6367.179 "
            "Mobile Safari/537.36 trill_340304 JsSdk/1.0 NetType/WIFI Channel/googleplay "
            "AppName/trill app_version/34.3.4 ByteLocale/en BytedanceWebview/d8a21c6"
        ),
        "mobile",
        "Android",
        "TikTok",
    ),
    (
        (
            "Mozilla/5.0 (Linux; Android 13; SM-A536E Build/TP1A.220624.014; wv) "
            "AppleWebKit/537.36 (KHTML, like Gecko) Version/4.0 Chrome/124.0.6367.179 "
            "Mobile Safari/537.36 [Pinterest/Android]"
        ),
        "mobile",
        "Android",
        "Pinterest",
    ),
    (
        (
            "Mozilla/5.0 (Linux; Android 13; CUBOT X70 Build/TP1A.220624.014; wv) "
            "AppleWebKit/537.36 (KHTML, like Gecko) Version/4.0 Chrome/120.0.6099.144 "
            "Mobile Safari/537.36"
        ),
        "mobile",
        "Android",
        "Android WebView",
    ),
    (
        (
            "Mozilla/5.0 (Linux; Android 11; CUBOT_X50) AppleWebKit/537.36 (KHTML, like "
            "Gecko) Chrome/120.0.6099.144 Mobile Safari/537.36"
        ),
        "mobile",
        "Android",
        "Chrome",
    ),
    (
        (
            "Mozilla/5.0 (Linux; Android 13; SM-S901N Build/TP1A.220624.014; wv) "
            "AppleWebKit/537.36 (KHTML, like Gecko) Version/4.0 Chrome/124.0.6367.179 "
            "Mobile Safari/537.36;KAKAOTALK 2410610"
        ),
        "mobile",
        "Android",
        "KakaoTalk",
    ),
    (
        (
            "Mozilla/5.0 (Linux; Android 14; SM-S926N Build/UP1A; wv) AppleWebKit/537.36 "
            "(KHTML, like Gecko) Version/4.0 Chrome/124.0.6367.159 Whale/1.0.0.0 "
            "Crosswalk/29.124.0.19 Mobile Safari/537.36 NAVER(inapp; search; 2000; 12.7.1)"
        ),
        "mobile",
        "Android",
        "NAVER",
    ),
    (
        (
            "Mozilla/5.0 (Linux; arm_64; Android 13; SM-A525F) AppleWebKit/537.36 (KHTML, "
            "like Gecko) Chrome/122.0.6261.105 YaBrowser/24.4.0.122.00 SA/3 Mobile "
            "Safari/537.36"
        ),
        "mobile",
        "Android",
        "Yandex Browser",
    ),
    (
        (
            "Mozilla/5.0 (Linux; Android 13; Pixel 6) AppleWebKit/537.36 (KHTML, like "
            "Gecko) Version/4.0 Chrome/124.0.6367.179 Mobile DuckDuckGo/5 Safari/537.36"
        ),
        "mobile",
        "Android",
        "DuckDuckGo",
    ),
    (
        (
            "Mozilla/5.0 (Linux; Android 9; KFTRWI) AppleWebKit/537.36 (KHTML, like Gecko) "
            "Silk/124.2.9 like Chrome/124.0.6367.219 Safari/537.36"
        ),
        "tablet",
        "Android",
        "Silk",
    ),
    (
        (
            "Mozilla/5.0 (Linux; Android 10; K) AppleWebKit/537.36 (KHTML, like Gecko) "
            "Chrome/124.0.0.0 Mobile Safari/537.36 Ecosia android@124.0.6367.113"
        ),
        "mobile",
        "Android",
        "Ecosia",
    ),
    (
        (
            "Mozilla/5.0 (Linux; Android 13; Pixel 6) AppleWebKit/537.36 (KHTML, like "
            "Gecko) Chrome/124.0.0.0 Mobile Safari/537.36 Vivaldi/6.7.3335.132"
        ),
        "mobile",
        "Android",
        "Vivaldi",
    ),
    (
        (
            "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like "
            "Gecko) Chrome/125.0.0.0 Safari/537.36"
        ),
        "desktop",
        "Windows",
        "Chrome",
    ),
    (
        (
            "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like "
            "Gecko) Chrome/125.0.0.0 Safari/537.36 Edg/125.0.0.0"
        ),
        "desktop",
        "Windows",
        "Edge",
    ),
    (
        (
            "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like "
            "Gecko) Chrome/124.0.0.0 Safari/537.36 OPR/110.0.0.0"
        ),
        "desktop",
        "Windows",
        "Opera",
    ),
    (
        "Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:126.0) Gecko/20100101 Firefox/126.0",
        "desktop",
        "Windows",
        "Firefox",
    ),
    (
        "Mozilla/5.0 (Windows NT 6.1; WOW64; Trident/7.0; rv:11.0) like Gecko",
        "desktop",
        "Windows",
        "Internet Explorer",
    ),
    (
        (
            "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/537.36 (KHTML, "
            "like Gecko) Chrome/125.0.0.0 Safari/537.36"
        ),
        "desktop",
        "macOS",
        "Chrome",
    ),
    (
        (
            "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) "
            "Chrome/125.0.0.0 Safari/537.36"
        ),
        "desktop",
        "Linux",
        "Chrome",
    ),
    (
        "Mozilla/5.0 (X11; Ubuntu; Linux x86_64; rv:126.0) Gecko/20100101 Firefox/126.0",
        "desktop",
        "Linux",
        "Firefox",
    ),
    (
        (
            "Mozilla/5.0 (X11; CrOS x86_64 14541.0.0) AppleWebKit/537.36 (KHTML, like "
            "Gecko) Chrome/124.0.0.0 Safari/537.36"
        ),
        "desktop",
        "ChromeOS",
        "Chrome",
    ),
    (
        (
            "Mozilla/5.0 (Linux; Android 9; BRAVIA 4K UR2 Build/PTT1.190515.001.S52) "
            "AppleWebKit/537.36 (KHTML, like Gecko) Chrome/92.0.4515.131 Safari/537.36"
        ),
        "tv",
        "Android",
        "Chrome",
    ),
    (
        (
            "Mozilla/5.0 (SMART-TV; LINUX; Tizen 6.0) AppleWebKit/537.36 (KHTML, like "
            "Gecko) 76.0.3809.146/6.0 TV Safari/537.36"
        ),
        "tv",
        "Tizen",
        "Safari",
    ),
    (
        (
            "Mozilla/5.0 (Web0S; Linux/SmartTV) AppleWebKit/537.36 (KHTML, like Gecko) "
            "Chrome/94.0.4606.128 Safari/537.36 WebAppManager"
        ),
        "tv",
        "webOS",
        "Chrome",
    ),
    (
        (
            "Mozilla/5.0 (Linux; Android 11; AFTKM Build/RS8101.1849N; wv) "
            "AppleWebKit/537.36 (KHTML, like Gecko) Version/4.0 Chrome/120.0.6099.230 "
            "Mobile Safari/537.36"
        ),
        "tv",
        "Android",
        "Android WebView",
    ),
    (
        (
            "Mozilla/5.0 (PlayStation; PlayStation 5/2.26) AppleWebKit/605.1.15 (KHTML, "
            "like Gecko) Version/13.0 Safari/605.1.15"
        ),
        "console",
        "PlayStation",
        "Safari",
    ),
    (
        (
            "Mozilla/5.0 (Windows NT 10.0; Win64; x64; Xbox; Xbox Series X) "
            "AppleWebKit/537.36 (KHTML, like Gecko) Chrome/125.0.0.0 Safari/537.36 "
            "Edg/125.0.0.0"
        ),
        "console",
        "Xbox",
        "Edge",
    ),
    (
        (
            "Mozilla/5.0 (Nintendo Switch; WifiWebAuthApplet) AppleWebKit/606.4 (KHTML, "
            "like Gecko) NF/6.0.1.15.4 NintendoBrowser/5.1.0.20393"
        ),
        "console",
        "Nintendo",
        "Nintendo Browser",
    ),
    (
        (
            "Mozilla/5.0 (X11; Linux x86_64; Quest 3) AppleWebKit/537.36 (KHTML, like "
            "Gecko) OculusBrowser/33.0.0.8.150 Chrome/124.0.6367.118 VR Safari/537.36"
        ),
        "other",
        "Android",
        "Oculus Browser",
    ),
    (
        (
            "Mozilla/5.0 (X11; GNU/Linux) AppleWebKit/537.36 (KHTML, like Gecko) "
            "Chromium/79.0.3945.130 Chrome/79.0.3945.130 Safari/537.36 "
            "Tesla/2021.44.30-ab7cc0c6a7a6"
        ),
        "other",
        "Linux",
        "Chromium",
    ),
    (
        "Mozilla/5.0 (Mobile; Nokia 8110 4G; rv:48.0) Gecko/48.0 Firefox/48.0 KAIOS/2.5",
        "mobile",
        "KaiOS",
        "Firefox",
    ),
    (
        (
            "Mozilla/5.0 (compatible; MSIE 10.0; Windows Phone 8.0; Trident/6.0; "
            "IEMobile/10.0; ARM; Touch; NOKIA; Lumia 920)"
        ),
        "mobile",
        "Windows Phone",
        "Internet Explorer",
    ),
    (
        (
            "Mozilla/5.0 (Linux; Android 14; Pixel 8) AppleWebKit/537.36 (KHTML, like "
            "Gecko) Chrome/125.0.0.0 Mobile Safari/537.36 Brave/125"
        ),
        "mobile",
        "Android",
        "Brave",
    ),
    (
        (
            "Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X) AppleWebKit/605.1.15 "
            "(KHTML, like Gecko) Version/17.5 Mobile/15E148 Safari/604.1 Ddg/17.5"
        ),
        "mobile",
        "iOS",
        "DuckDuckGo",
    ),
    (
        (
            "Mozilla/5.0 (iPhone; CPU iPhone OS 17_5_1 like Mac OS X) AppleWebKit/605.1.15 "
            "(KHTML, like Gecko) Mobile/15E148 Barcelona 334.0.0.31.111 (iPhone15,2; iOS "
            "17_5_1; de_DE; de; scale=3.00; 1179x2556; 604417363)"
        ),
        "mobile",
        "iOS",
        "Threads",
    ),
    (
        (
            "Mozilla/5.0 (Tablet; OpenHarmony 5.0) AppleWebKit/537.36 (KHTML, like Gecko) "
            "Chrome/114.0.0.0 Safari/537.36 ArkWeb/4.1.6.1 HuaweiBrowser/5.0.4.300"
        ),
        "tablet",
        "HarmonyOS",
        "Huawei Browser",
    ),
    (
        "Mozilla/5.0 (compatible; MSIE 10.0; Windows NT 6.2; Trident/6.0; Touch; Tablet PC 2.0)",
        "desktop",
        "Windows",
        "Internet Explorer",
    ),
    (
        (
            "Mozilla/5.0 (iPad; CPU OS 17_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, "
            "like Gecko) Mobile/15E148 Instagram 330.0.3.29.107 (iPad13,1; iPadOS 17_5; "
            "de_DE; de; scale=2.00; 750x1334; 595123456)"
        ),
        "tablet",
        "iOS",
        "Instagram",
    ),
    (
        (
            "Mozilla/5.0 (Linux; Android 13; 22081283G Build/TKQ1.221114.001; wv) "
            "AppleWebKit/537.36 (KHTML, like Gecko) Version/4.0 Chrome/125.0.6422.113 "
            "Safari/537.36"
        ),
        "tablet",
        "Android",
        "Android WebView",
    ),
]

PREVIEWS = [
    "WhatsApp/2.24.11.79 A",
    "WhatsApp/2.24.10.85 i",
    "Slackbot-LinkExpanding 1.0 (+https://api.slack.com/robots)",
    "facebookexternalhit/1.1 (+http://www.facebook.com/externalhit_uatext.php)",
    "Twitterbot/1.0",
    "Mozilla/5.0 (compatible; Discordbot/2.0; +https://discordapp.com)",
    (
        "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_11_1) AppleWebKit/601.2.4 (KHTML, "
        "like Gecko) Version/9.0.1 Safari/601.2.4 facebookexternalhit/1.1 Facebot "
        "Twitterbot/1.0"
    ),
    "com.apple.WebKit.Networking/8618.2.12.10.9 CFNetwork/1496.0.7 Darwin/23.5.0",
    "com.apple.LinkPresentation/1 CFNetwork/1496.0.7 Darwin/23.5.0",
    (
        "Mozilla/5.0 (Windows NT 6.1; WOW64) SkypeUriPreview Preview/0.5 "
        "skype-url-preview@microsoft.com"
    ),
    "TelegramBot (like TwitterBot)",
    ("LinkedInBot/1.0 (compatible; Mozilla/5.0; Apache-HttpClient +http://www.linkedin.com)"),
    "Signal-Android/7.6.2",
    "Viber/22.3.0.1",
    "Iframely/1.3.1 (+https://iframely.com/docs/about)",
    "SkypeUriPreview Preview/0.5",
    "MicrosoftPreview/2.0 +https://aka.ms/MicrosoftPreview",
    "Dalvik/2.1.0 (Linux; U; Android 13; SM-A536B Build/TP1A.220624.014)",
    "QR%20Scanner/42 CFNetwork/1496.0.7 Darwin/23.5.0",
]
"""What messengers and phones fetch to show what a link leads to."""

ROBOTS = [
    (
        "Mozilla/5.0 (Linux; Android 6.0.1; Nexus 5X Build/MMB29P) AppleWebKit/537.36 "
        "(KHTML, like Gecko) Chrome/125.0.6422.76 Mobile Safari/537.36 (compatible; "
        "Googlebot/2.1; +http://www.google.com/bot.html)"
    ),
    (
        "Mozilla/5.0 AppleWebKit/537.36 (KHTML, like Gecko; compatible; bingbot/2.0; "
        "+http://www.bing.com/bingbot.htm) Chrome/116.0.1938.76 Safari/537.36"
    ),
    (
        "Mozilla/5.0 AppleWebKit/537.36 (KHTML, like Gecko; compatible; GPTBot/1.2; "
        "+https://openai.com/gptbot)"
    ),
    (
        "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) "
        "HeadlessChrome/125.0.0.0 Safari/537.36"
    ),
    "python-requests/2.32.3",
    "Go-http-client/2.0",
    "okhttp/4.12.0",
]


def traits(agent: str, before: Traits | None = None) -> Traits:
    visit = Visit(UUID(int=1), UUID(int=2), datetime(2026, 5, 6, tzinfo=UTC), "192.0.2.1", agent)
    return ENRICHER.enrich(visit, before or Traits())


@pytest.mark.parametrize(("agent", "device", "os", "browser"), PEOPLE)
def test_device_system_and_browser_are_told(agent, device, os, browser):
    assert traits(agent) == Traits(device=device, os=os, browser=browser)


def test_enough_kinds_of_scans_are_among_the_examples():
    assert len({agent for agent, *_ in PEOPLE}) >= 60
    assert {device for _, device, *_ in PEOPLE} == set(Device)


def test_an_ipad_that_asks_for_desktop_pages_cannot_be_told_from_a_mac():
    safari_on_ipados = (
        "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 "
        "(KHTML, like Gecko) Version/18.1 Safari/605.1.15"
    )
    assert traits(safari_on_ipados) == Traits(device="desktop", os="macOS", browser="Safari")


@pytest.mark.parametrize("agent", [*PREVIEWS, *ROBOTS, "", "  "])
def test_of_a_bot_nothing_else_is_told(agent):
    assert traits(agent) == Traits(bot=True)


def test_a_scan_by_hand_with_curl_is_no_bot():
    assert traits("curl/8.5.0") == Traits()


def test_a_prefetch_stays_a_bot_but_keeps_its_device():
    assert traits(PEOPLE[0][0], Traits(bot=True)).bot
    assert traits(PEOPLE[0][0], Traits(bot=True)).device == "mobile"


def test_the_other_traits_are_kept():
    before = Traits(country="DE", language="de", referrer="example.com")
    after = traits(PEOPLE[0][0], before)
    assert (after.country, after.language, after.referrer) == ("DE", "de", "example.com")


def test_what_nobody_knows_is_left_open():
    assert traits("Frobnicator/1.0 (Plan 9)") == Traits()


@pytest.mark.parametrize(
    "name",
    [
        *user_agent._SYSTEMS.values(),
        *user_agent._BROWSERS.values(),
        *(name for name, _ in user_agent._OWN_SYSTEMS),
        *(name for name, _ in user_agent._OWN_BROWSERS),
    ],
)
def test_every_name_that_may_come_out_is_one_that_traits_take(name):
    assert Traits(os=name, browser=name).os == name


@settings(deadline=None)
@given(st.text(st.characters(), max_size=700) | st.sampled_from([p[0] for p in PEOPLE]))
def test_no_user_agent_makes_it_raise_and_only_known_names_come_out(agent):
    found = traits(agent)
    assert found.device in {"", *Device}
    assert found.os in {
        "",
        *user_agent._SYSTEMS.values(),
        *(name for name, _ in user_agent._OWN_SYSTEMS),
    }
    assert found.browser in {
        "",
        *user_agent._BROWSERS.values(),
        *(name for name, _ in user_agent._OWN_BROWSERS),
    }


@settings(deadline=None)
@given(st.sampled_from([p[0] for p in PEOPLE]), st.text(st.characters(), max_size=40), st.data())
def test_no_damage_to_a_user_agent_makes_it_raise(agent, noise, data):
    at = data.draw(st.integers(0, len(agent)))
    traits(agent[:at] + noise + agent[at:])


def test_a_user_agent_that_was_seen_is_not_parsed_again():
    ENRICHER.close()
    for _ in range(3):
        traits(PEOPLE[0][0])
    # What follows the 512th character is not looked at, and so cannot fill the memory either.
    traits(PEOPLE[0][0] + " " * 512 + "a")
    traits(PEOPLE[0][0] + " " * 512 + "b")
    info = user_agent._sender.cache_info()
    assert (info.hits, info.misses) == (3, 2)
    ENRICHER.close()
    assert user_agent._sender.cache_info().currsize == 0
