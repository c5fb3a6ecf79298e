"""Drives the page in headless Chromium as people do: with mouse and keyboard, in light and dark, wide and narrow."""

import json
import subprocess
import sys
import time
import urllib.error
import urllib.request

from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

url, token, binary, socket, shots = sys.argv[1:6]
passed = 0


def check(what, is_right, why=""):
    global passed
    if not is_right:
        shot("failed")
        sys.exit(f"FAILED: {what}: {why}")
    passed += 1
    print(f"ok: {what}")


def until(what, is_right, seconds=15):
    end, last = time.monotonic() + seconds, None
    while time.monotonic() < end:
        last = is_right()
        if last:
            return check(what, True)
        time.sleep(0.1)
    check(what, False, f"not within {seconds} s: {last!r}")


def shot(name):
    if shots:
        driver.save_screenshot(f"{shots}/{name}.png")


def shell(*arguments):
    command = [binary, "--socket", socket, *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=30, check=True).stdout


def answers():
    try:
        return urllib.request.urlopen(url, timeout=2).status == 200
    except (urllib.error.URLError, OSError):
        return False


def colours():
    """Text and background of everything that shows text, as luminance contrast."""
    return driver.execute_script(
        """
        const channel = (c) => { c /= 255; return c <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4; };
        const light = ([r, g, b]) => 0.2126 * channel(r) + 0.7152 * channel(g) + 0.0722 * channel(b);
        const parse = (text) => text.match(/[\\d.]+/g).map(Number);
        const ground = (e) => {
            for (; e; e = e.parentElement) {
                const c = parse(getComputedStyle(e).backgroundColor);
                if (c.length < 4 || c[3] > 0) return c;
            }
            return [255, 255, 255];
        };
        const shown = [...document.querySelectorAll("h1, h2, p, th, td, caption, button:enabled, figcaption span, label")];
        return shown.filter((e) => e.textContent.trim() && e.offsetParent).map((e) => {
            const a = light(parse(getComputedStyle(e).color)), b = light(ground(e));
            return [(Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05), e.tagName + ": " + e.textContent.slice(0, 30)];
        });
        """
    )


def button(name):
    return driver.find_element(By.CSS_SELECTOR, f'button[aria-label="{name}"]')


def states():
    found = json.loads(shell("show", "backends", "--json"))["backends"]
    return {f"{b['service']}/{b['name']}": b["state"] for b in found}


options = webdriver.ChromeOptions()
for argument in ["--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu", "--window-size=1280,1500"]:
    options.add_argument(argument)
options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
options.binary_location = "/usr/bin/chromium"
driver = webdriver.Chrome(options=options, service=Service("/usr/bin/chromedriver"))
try:
    until("the page is served", answers, 40)
    driver.get(url)
    check("its title", driver.title == "tidegate", driver.title)
    until("the services are shown", lambda: len(driver.find_elements(By.CSS_SELECTOR, "#service-tables tbody tr")) == 4)
    text = driver.find_element(By.ID, "service-web").text
    check("a service has its VIP and its backends", all(word in text for word in ["192.0.2.10:80", "10.1.0.11", "● up"]), text)
    down = driver.find_element(By.ID, "service-dns").text
    check("IPv6 and a backend that is down", "[2001:db8::10]:53" in down and "✕ down" in down, down)
    until("the process is healthy", lambda: "healthy" in driver.find_element(By.ID, "health").text)
    points = "return Math.min(...[...document.querySelectorAll('#graph-packets polyline')].map((p) => p.points.length))"
    until("graphs have points", lambda: driver.execute_script(points) >= 2)
    until("drops are listed with what to do", lambda: driver.find_elements(By.CSS_SELECTOR, "#drop-table tbody tr"))
    check("nothing can be changed without the token", not button("Drain web/b1").is_enabled())
    shot("light")

    form = driver.find_element(By.ID, "packet")
    form.send_keys("tcp 198.51.100.7:40000 > 192.0.2.10:80" + Keys.ENTER)
    until("explaining needs the token", lambda: "token" in driver.find_element(By.ID, "explanation").text)
    field = driver.find_element(By.ID, "token")
    field.send_keys("wrong" + Keys.ENTER)
    until("a wrong token is refused, in words", lambda: "token" in driver.find_element(By.ID, "message").text.lower())
    driver.find_element(By.ID, "token-forget").click()
    time.sleep(3)
    field.send_keys(token + Keys.ENTER)
    until("the token lets in", lambda: button("Drain web/b1").is_enabled())
    check("the token is not on the page", token not in driver.page_source)

    driver.execute_script("arguments[0].focus()", button("Drain web/b1"))
    time.sleep(2.5)
    focused = driver.switch_to.active_element.get_attribute("aria-label")
    check("the keyboard's place outlasts news", focused == "Drain web/b1", focused)
    driver.switch_to.active_element.send_keys(Keys.ENTER)
    until("a question comes first", lambda: driver.find_element(By.ID, "confirm").is_displayed())
    driver.switch_to.active_element.send_keys(Keys.ESCAPE)
    until("Escape leaves it", lambda: not driver.find_element(By.ID, "confirm").is_displayed())
    check("and nothing has changed", states()["web/b1"] == "up", states())
    button("Drain web/b1").send_keys(Keys.ENTER)
    driver.find_element(By.ID, "confirm-yes").send_keys(Keys.ENTER)
    until("the backend drains", lambda: states()["web/b1"] == "drain")
    until("and the page says so", lambda: "◐ drain" in driver.find_element(By.ID, "service-web").text)
    button("Up web/b1").click()
    driver.find_element(By.ID, "confirm-yes").click()
    until("and comes back", lambda: states()["web/b1"] == "up")

    form.send_keys(Keys.ENTER)
    until("a packet is explained", lambda: driver.find_elements(By.ID, "explained"))
    said = driver.find_element(By.ID, "explained").text
    check("by the service that it is for", "web: tcp 192.0.2.10:80" in said and "outer IPv4 destination" in said, said)
    form.clear()
    form.send_keys("tcp nonsense" + Keys.ENTER)
    until("nonsense is named", lambda: "write it like" in driver.find_element(By.ID, "explanation").text)

    for scheme in ["light", "dark"]:
        media = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
        driver.execute_cdp_cmd("Emulation.setEmulatedMedia", media)
        time.sleep(0.3)
        faint = [row for row in colours() if row[0] < 4.5]
        check(f"all text can be read in {scheme} (WCAG 2.1, 1.4.3)", not faint, faint)
        shot(f"{scheme}-with-token")
    ground = driver.execute_script("return getComputedStyle(document.body).backgroundColor")
    check("dark is dark", ground == "rgb(20, 23, 26)", ground)

    nameless = driver.execute_script(
        """
        const named = (e) => e.getAttribute("aria-label") || e.textContent.trim() || (e.labels && e.labels.length);
        return [...document.querySelectorAll("button, input, svg, table")].filter((e) => {
            if (e.tagName === "TABLE") return !e.caption || [...e.querySelectorAll("th")].some((th) => th.scope !== "col");
            return !named(e);
        }).map((e) => e.outerHTML.slice(0, 80));
        """
    )
    check("every control, table and picture has a name", not nameless, nameless)
    check("the language is told", driver.execute_script("return document.documentElement.lang") == "en")
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", {"width": 360, "height": 900, "deviceScaleFactor": 1, "mobile": False})
    time.sleep(0.5)
    wide = driver.execute_script("return document.documentElement.scrollWidth")
    check("a telephone's width is enough", wide <= 360, wide)
    shot("narrow")
    loaded = driver.execute_script("return performance.getEntriesByType('resource').map((entry) => entry.name)")
    strange = [name for name in loaded if not name.startswith(url)]
    check("nothing comes from elsewhere", loaded and not strange, strange)
    # Refused requests are lines there as well; the page has said what was wrong with them.
    refused = "Failed to load resource: the server responded with a status of 4"
    errors = [entry for entry in driver.get_log("browser") if entry["level"] == "SEVERE" and refused not in entry["message"]]
    check("the browser has nothing to complain of", not errors, errors)
    print(f"{passed} passed, 0 failed")
finally:
    driver.quit()
