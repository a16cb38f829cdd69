<?php
// Checks X-Menshen-Assertion, and answers 401 where there is none that is good.
declare(strict_types=1);

use Firebase\JWT\{CachedKeySet, JWT};
use GuzzleHttp\{Client, Psr7\HttpFactory};
use Symfony\Component\Cache\Adapter\FilesystemAdapter;

function assertion(string $jwks, string $audience): stdClass
{
    // Keys are kept for five minutes, and fetched again for an unknown kid, ten times a minute at most.
    $keys = new CachedKeySet($jwks, new Client(['timeout' => 5]), new HttpFactory(), new FilesystemAdapter(), 300, true);
    try {
        $claims = JWT::decode($_SERVER['HTTP_X_MENSHEN_ASSERTION'] ?? '', $keys);
    } catch (Throwable) {
        $claims = null;
    }
    if (!isset($claims->sub, $claims->exp) || $claims->iss !== 'menshen' || $claims->aud !== $audience) {
        http_response_code(401);
        exit;
    }
    return $claims;
}
